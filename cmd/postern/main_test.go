package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-mail/postern/internal/control"
)

var update = flag.Bool("update", false, "write the golden files anew")

// noon is now, in the tests.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(offset time.Duration) time.Time { return noon.Add(offset) }

// testdata is found wherever the test has gone.
func testdata(t *testing.T) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	if dir := filepath.Join(filepath.Dir(file), "testdata"); filepath.IsAbs(dir) {
		return dir
	}
	t.Fatal("built with -trimpath: the golden files are not found")
	return ""
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join(testdata(t), name)
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", name, diff)
	}
}

// fits checks that human output keeps to the width, but for single long words.
func fits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if utf8.RuneCountInString(line) > width && len(strings.Fields(line)) > 1 {
			t.Errorf("%d columns: %q", utf8.RuneCountInString(line), line)
		}
		if strings.HasSuffix(line, " ") {
			t.Errorf("a space at the end of %q", line)
		}
	}
}

// result is what one command did.
type result struct {
	status      int
	out, errors string
}

// run runs a command line as main would, in UTC at noon, without colour.
func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{
		ctx: t.Context(), stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, environ: os.Environ(),
		now: func() time.Time { return noon }, zone: time.FixedZone("CET", 3600),
	}
	return result{a.run(args), out.String(), errs.String()}
}

// fakeNode answers with sample words on a data directory.
func fakeNode(t *testing.T, balanced bool) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := control.Listen(t.Context(), control.Config{
		Dir: dir, Logger: slog.New(slog.DiscardHandler), Hello: control.Hello{Version: "1.2.3", PID: 42, Demo: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	control.Handle(s, control.CallTrace, control.Operator, func(_ context.Context, req control.TraceRequest) (control.TraceReply, error) {
		switch req.Query {
		case "alice@example.test":
			return sampleMatches(), nil
		case "nobody@example.test":
			return control.TraceReply{Matches: []control.MessageSummary{}}, nil
		case "FFQ69G5FAV":
			return control.TraceReply{Message: sampleMessage()}, nil
		}
		return control.TraceReply{}, control.Errorf(control.CodeNotFound, "no message whose ID ends in %s", req.Query)
	})
	control.HandleStream(s, control.CallQueueList, control.Operator, func(_ context.Context, req control.QueueListRequest, emit func(control.QueueItem) error) error {
		for _, item := range sampleQueue() {
			if req.Tenant == "" || req.Tenant == item.Tenant {
				if err := emit(item); err != nil {
					return err
				}
			}
		}
		return nil
	})
	control.Handle(s, control.CallQueueSummary, control.Observer, func(context.Context, control.None) (control.QueueSummary, error) { return sampleSummary(), nil })
	control.Handle(s, control.CallAudit, control.Operator, func(context.Context, control.None) (control.AuditReport, error) { return sampleAudit(balanced), nil })
	control.Handle(s, control.CallHealth, control.Observer, func(context.Context, control.None) (control.Health, error) { return sampleHealth(balanced), nil })
	control.Handle(s, control.CallReload, control.Operator, func(context.Context, control.None) (control.ReloadReply, error) {
		if !balanced {
			return control.ReloadReply{}, control.Errorf(control.CodeBadRequest, "tenants.yaml:3:5: tenants[0]: unknown key \"nonsense\"")
		}
		return sampleReload(), nil
	})
	control.Handle(s, control.CallStop, control.Operator, func(context.Context, control.StopRequest) (control.StopReply, error) {
		return control.StopReply{PID: 42}, nil
	})
	control.HandleStream(s, control.CallDemoInbox, control.Operator, func(_ context.Context, req control.InboxRequest, emit func(control.InboxMessage) error) error {
		m := sampleInbox()
		if !req.Content {
			m.Content = ""
		}
		return emit(m)
	})
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestEachCommandPrintsForPeopleAndForPrograms(t *testing.T) {
	good, bad := fakeNode(t, true), fakeNode(t, false)
	for _, c := range []struct {
		name   string
		dir    string
		args   []string
		status int
		lines  bool // JSON comes as lines
	}{
		{"trace-message", good, []string{"trace", "FFQ69G5FAV"}, 0, false},
		{"trace-matches", good, []string{"trace", "alice@example.test", "--limit", "2"}, 0, false},
		{"queue-list", good, []string{"queue", "list"}, 0, true},
		{"queue-summary", good, []string{"queue", "summary"}, 0, false},
		{"audit-balanced", good, []string{"audit"}, 0, false},
		{"audit-unbalanced", bad, []string{"audit"}, 1, false},
		{"health-ready", good, []string{"health"}, 0, false},
		{"health-not-ready", bad, []string{"health"}, 1, false},
		{"reload", good, []string{"reload"}, 0, false},
		{"demo-inbox", good, []string{"demo", "inbox"}, 0, true},
		{"demo-inbox-content", good, []string{"demo", "inbox", "--content"}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			human := run(t, "", append(c.args, "--data", c.dir)...)
			if human.status != c.status || human.errors != "" {
				t.Errorf("status %d, errors %q", human.status, human.errors)
			}
			fits(t, human.out)
			golden(t, c.name+".txt", human.out)
			program := run(t, "", append(c.args, "--json", "--data", c.dir)...)
			if program.status != c.status {
				t.Errorf("with --json: status %d", program.status)
			}
			checkJSON(t, program.out, c.lines)
			golden(t, c.name+".json", program.out)
		})
	}
}

func checkJSON(t *testing.T, text string, lines bool) {
	t.Helper()
	if !lines {
		if !json.Valid([]byte(text)) {
			t.Errorf("not JSON: %s", text)
		}
		return
	}
	scanner := bufio.NewScanner(strings.NewReader(text))
	for scanner.Scan() {
		if !json.Valid(scanner.Bytes()) {
			t.Errorf("not JSON: %s", scanner.Text())
		}
	}
}

func TestTheExitStatusSaysWhatHappened(t *testing.T) {
	good, bad := fakeNode(t, true), fakeNode(t, false)
	t.Setenv("POSTERN_CONFIG", "")
	for _, c := range []struct {
		args   []string
		status int
		say    string // on standard error
	}{
		{[]string{"version"}, 0, ""},
		{[]string{"--help"}, 0, ""},
		{[]string{}, exitUsage, "expected one of"},
		{[]string{"tracee"}, exitUsage, "did you mean \"trace\"?"},
		{[]string{"trace"}, exitUsage, "expected"},
		{[]string{"serve", "--set", "nonsense"}, exitUsage, "want path=value"},
		{[]string{"trace", "nobody@example.test", "--data", good}, 1, ""},
		{[]string{"trace", "ABCDEFGH", "--data", good}, 1, "no message whose ID ends in ABCDEFGH"},
		{[]string{"reload", "--data", bad}, 1, "nothing was changed: tenants.yaml:3:5"},
		{[]string{"stop", "--data", good}, 0, ""},
		{[]string{"stop", "--drain=-5s", "--data", good}, exitUsage, "not negative"},
		{[]string{"queue", "summary", "--data", filepath.Join(good, "absent")}, exitUnavailable, "postern: no node runs on " + filepath.Join(good, "absent")},
		{[]string{"audit", "--data", t.TempDir()}, exitUnavailable, "postern audit --dir DIR"},
		{[]string{"audit", "--dir", filepath.Join(good, "absent")}, 1, "absent"},
		{[]string{"drill", "run", "D99"}, exitUsage, "no such drill"},
		{[]string{"serve", "--config", "absent.yaml"}, 1, "absent.yaml"},
	} {
		got := run(t, "", c.args...)
		if got.status != c.status || !strings.Contains(got.errors, c.say) || c.say == "" && got.errors != "" {
			t.Errorf("postern %s: status %d, want %d; said %q, want %q", strings.Join(c.args, " "), got.status, c.status, got.errors, c.say)
		}
	}
}

func TestTheDataDirectoryIsFoundWithoutFlags(t *testing.T) {
	dir := fakeNode(t, true)
	t.Chdir(t.TempDir())
	t.Setenv("POSTERN_DATA", dir)
	if got := run(t, "", "health"); got.status != 0 {
		t.Errorf("by environment: %+v", got)
	}
	t.Setenv("POSTERN_DATA", "")
	if err := os.WriteFile("postern.yaml", []byte("data: "+dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "", "health"); got.status != 0 {
		t.Errorf("by ./postern.yaml: %+v", got)
	}
	if err := os.WriteFile("postern.yaml", []byte("dta: "+dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "", "health"); got.status != 1 || !strings.Contains(got.errors, "postern.yaml:1:1") {
		t.Errorf("a broken file: %+v", got)
	}
	if got := run(t, "", "health", "--data", dir); got.status != 0 {
		t.Errorf("a broken file and --data: %+v", got)
	}
}

func TestNodeCheckNamesAllProblemsOfBothFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := run(t, "", "node", "check")
	if got.status != 0 || !strings.Contains(got.out, "no node file, the defaults: sound") {
		t.Errorf("nothing there: %+v", got)
	}
	write("postern.yaml", "listen: {smpt: []}\nlimits: {content: 5}\ntenants: t.yaml\n")
	got = run(t, "", "node", "check")
	fits(t, regexp.MustCompile(`(?m)^\S+:\d.*$`).ReplaceAllString(got.out, ""))
	if got.status != 1 || !strings.Contains(got.out, "postern.yaml:1:10: listen: unknown key \"smpt\"; did you mean \"smtp\"?") ||
		!strings.Contains(got.out, "postern.yaml:2:19: limits.content: want a size") || !strings.HasSuffix(got.out, "\n2 problems\n") {
		t.Errorf("a bad node file: %+v", got)
	}
	write("postern.yaml", "tenants: t.yaml\n")
	write("t.yaml", "tenants:\n  - id: acme\n    users: [{login: a, password: planted}]\n")
	got = run(t, "", "node", "check", "--json")
	var report checkReport
	if err := json.Unmarshal([]byte(got.out), &report); err != nil || got.status != 1 || report.OK || len(report.Problems) != 2 {
		t.Errorf("bad tenants: %v, %+v", err, got)
	}
	if strings.Contains(got.out, "planted") || strings.Contains(run(t, "", "node", "check").out, "planted") {
		t.Error("a secret is shown")
	}
	write("t.yaml", "tenants: [{id: acme, domains: [{name: a.test, any: true, next_hop: {mx: a.test}}]}]\n")
	got = run(t, "", "node", "check", "postern.yaml")
	if got.status != 0 || got.out != "postern.yaml: sound\nt.yaml: sound, 1 tenant, 1 domain, 0 listed recipients, 0 users\n" {
		t.Errorf("all well: %+v", got)
	}
}

func TestNodeShowSaysWhereEachValueComesFrom(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("postern.yaml", []byte("hostname: mx.example.net\nlimits:\n  deadlines:\n    command: 2m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POSTERN_LIMITS_CONTENT", "20MiB")
	t.Setenv("POSTERN_CONFIG", "")
	args := []string{"node", "show", "--listen-smtp", "[::1]:25,127.0.0.1:25", "--set", "log.format=json", "--log-level", "debug", "--data", "d"}
	got := run(t, "", args...)
	if got.status != 0 || got.errors != "" {
		t.Fatalf("%+v", got)
	}
	fits(t, got.out)
	golden(t, "node-show.txt", got.out)
	golden(t, "node-show-changed.txt", run(t, "", append(args, "--changed")...).out)
	program := run(t, "", append(args, "--json", "--changed")...)
	checkJSON(t, program.out, false)
	golden(t, "node-show-changed.json", program.out)
}

func TestPasswordPrintsAHashThatMatches(t *testing.T) {
	got := run(t, "secret word\n", "password")
	match, err := argon2id.ComparePasswordAndHash("secret word", strings.TrimSpace(got.out))
	if err != nil || !match || got.status != 0 || strings.Contains(got.out+got.errors, "secret") {
		t.Errorf("%+v: %v, %v", got, match, err)
	}
	for _, stdin := range []string{"", "\n", strings.Repeat("x", 2000)} {
		if got := run(t, stdin, "password"); got.status != 1 || got.out != "" {
			t.Errorf("%.5q: %+v", stdin, got)
		}
	}
}

func TestVersionNamesTheBuild(t *testing.T) {
	if got := run(t, "", "version"); !strings.HasPrefix(got.out, "postern ") {
		t.Errorf("%+v", got)
	}
	got := run(t, "", "version", "--json")
	var build struct{ Version, Go string }
	if err := json.Unmarshal([]byte(got.out), &build); err != nil || build.Version == "" || build.Go == "" {
		t.Errorf("%+v: %v", got, err)
	}
}

func TestDrillListNamesEveryDrill(t *testing.T) {
	got := run(t, "", "drill", "list")
	if got.status != 0 || !strings.Contains(got.out, "D21") || !strings.Contains(got.out, "D22") {
		t.Errorf("%+v", got)
	}
	fits(t, got.out)
	checkJSON(t, run(t, "", "drill", "list", "--json").out, false)
}

func TestHelpFitsTheTerminalAndNamesEveryCommand(t *testing.T) {
	got := run(t, "", "--help")
	golden(t, "help.txt", got.out)
	fits(t, got.out)
}

func TestStrangersWordsCannotWorkTheTerminal(t *testing.T) {
	m := sampleMessage()
	evil := "a\x1b[2Jb\rc\u202ed\xff\u200be\n250 delivered"
	m.Reverse, m.Arrival.Hello, m.EnvID, m.Arrival.User = evil, evil, evil, evil
	m.Recipients[0].Path = evil
	m.Events[1].Attempt.Reply, m.Events[1].Attempt.Host, m.Events[1].Detail = []string{evil}, evil, evil
	var out bytes.Buffer
	p := &paper{w: bufio.NewWriter(&out), now: noon, zone: time.UTC}
	renderMessage(p, m)
	inbox := sampleInbox()
	inbox.Subject, inbox.From, inbox.Content = evil, evil, "line\r\n"+strings.ReplaceAll(evil, "\n", "")+"\r\n"
	renderInbox(p, &inbox)
	q := sampleQueue()[0]
	q.Reverse, q.LastReply, q.NextHop = evil, evil, evil
	renderQueueItem(p, &q)
	renderHop(p, &control.HopSummary{NextHop: evil, Cause: evil, LastReply: evil})
	if err := p.done(); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\x1b", "\r", "\u202e", "\u200b", "\xff", "\n250 delivered"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%q got through:\n%s", bad, out.String())
		}
	}
	if !strings.Contains(out.String(), `a\x1b[2Jb\x0dc\u202ed\xff\u200be\x0a250 delivered`) {
		t.Errorf("the words are not shown:\n%s", out.String())
	}
}

func TestColoursComeOnlyToATerminalThatWantsThem(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	none := func(string) (string, bool) { return "", false }
	if wantsColor(file, none) {
		t.Error("a file got colours")
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("no pseudo terminal: %v", err)
	}
	defer terminal.Close()
	if !wantsColor(terminal, none) {
		t.Error("a terminal got none")
	}
	if wantsColor(terminal, func(name string) (string, bool) { return "1", name == "NO_COLOR" }) {
		t.Error("NO_COLOR is not respected")
	}
	if wantsColor(terminal, func(name string) (string, bool) { return "dumb", name == "TERM" }) {
		t.Error("a dumb terminal got colours")
	}
	if !wantsColor(terminal, func(name string) (string, bool) { return "", name == "NO_COLOR" }) {
		t.Error("an empty NO_COLOR counts")
	}
	p := &paper{color: true}
	if p.state("delivered") != "\x1b[32mdelivered\x1b[0m" || (&paper{}).state("delivered") != "delivered" {
		t.Error("paint")
	}
}

func TestAClosedOutputIsAnError(t *testing.T) {
	dir := fakeNode(t, true)
	for _, args := range [][]string{{"queue", "list"}, {"queue", "summary", "--json"}, {"trace", "FFQ69G5FAV"}, {"demo", "inbox"}, {"audit"}} {
		var errs bytes.Buffer
		a := &app{ctx: t.Context(), stdout: broken{}, stderr: &errs, environ: os.Environ(), now: time.Now, zone: time.UTC}
		if status := a.run(append(args, "--data", dir)); status != 1 || !strings.Contains(errs.String(), "no room") {
			t.Errorf("%v: status %d, %s", args, status, errs.String())
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, fmt.Errorf("no room") }

func TestANodeWithoutTheDemoSaysSo(t *testing.T) {
	dir := t.TempDir()
	s, err := control.Listen(t.Context(), control.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler), Hello: control.Hello{PID: 7}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	defer func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	}()
	if got := run(t, "", "demo", "inbox", "--data", dir); got.status != 1 || !strings.Contains(got.errors, "without --demo") {
		t.Errorf("%+v", got)
	}
}

func TestSpansAndSizesAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "0 s", 0: "0 s", 59 * time.Second: "59 s", 119 * time.Minute: "119 min", 2 * time.Hour: "2 h", 47 * time.Hour: "47 h", 50 * time.Hour: "2 d"} {
		if got := span(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 999 << 10: "999 KiB", 1000 << 10: "1.0 MiB", 5 << 40: "5.0 TiB", 1 << 60: "1048576 TiB"} {
		if got := octets(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := group(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

// The fake node needs net and io only through control; these keep the test
// honest about what a socket in the way does.
func TestSomethingElseOnTheSocketIsNamed(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, control.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "220 not HTTP\r\n")
			_ = conn.Close()
		}
	}()
	defer func() { _ = listener.Close(); <-done }()
	if got := run(t, "", "health", "--data", dir); got.status != 1 || !strings.Contains(got.errors, dir) {
		t.Errorf("%+v", got)
	}
}
