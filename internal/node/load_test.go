package node

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-mail/postern/internal/yamlfile"
)

var update = flag.Bool("update", false, "write generated and golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
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
		t.Errorf("%s is stale; run this test with -update (-file +fresh):\n%s", name, diff)
	}
}

// load reads a file with that content under the name postern.yaml.
func load(t *testing.T, content string, environ []string, settings ...Setting) (*Loaded, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("postern.yaml", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(Options{Environ: environ, Settings: settings, Machine: func() (string, error) { return "MX1.example.net", nil }})
}

func TestEachKindOfMistakeIsNamedWithItsPlaceInOnePass(t *testing.T) {
	inputs, err := filepath.Glob("testdata/mistakes/*.yaml")
	if err != nil || len(inputs) < 6 {
		t.Fatalf("want at least 6 inputs, got %d (%v)", len(inputs), err)
	}
	for _, input := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(input), ".yaml"), func(t *testing.T) {
			absolute, err := filepath.Abs(input)
			if err != nil {
				t.Fatal(err)
			}
			src, err := os.ReadFile(absolute)
			if err != nil {
				t.Fatal(err)
			}
			_, err = load(t, string(src), nil)
			var problems yamlfile.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("want problems, got %v", err)
			}
			golden(t, strings.TrimSuffix(absolute, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

func TestEveryLeafIsDocumented(t *testing.T) {
	c := Default()
	for _, l := range leavesOf(&c) {
		if len(l.tag.Get("doc")) < 10 {
			t.Errorf("%s has no words for people", l.path)
		}
	}
}

func TestFreshReferenceOfTheNodeFile(t *testing.T) {
	golden(t, "../../docs/postern.yaml.md", Reference())
}

func TestTheDefaultsAreValidAndThoseOfTheManual(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, l := range c.Listeners() {
		shown = append(shown, l.Name+" "+l.Address)
	}
	want := []string{"smtp 127.0.0.1:2525", "submission 127.0.0.1:2587", "http 127.0.0.1:8080", "metrics 127.0.0.1:9090"}
	if diff := cmp.Diff(want, shown); diff != "" || c.Data != "./data" || c.Limits.Content != 50<<20 {
		t.Errorf("data %s, content %v, listeners (-want +got):\n%s", c.Data, c.Limits.Content, diff)
	}
	if len(c.Trust.Networks) != 0 {
		t.Error("somebody is trusted by default")
	}
	if path, named := c.TenantsFile(); path != "data/tenants.yaml" || named {
		t.Errorf("tenants in %s, %v", path, named)
	}
}

func TestAStrongerSourceReplacesAWeakerOne(t *testing.T) {
	file := "data: ./file\nlimits:\n  errors: 5\n  hops: 50\n  recipients: 500\nlisten:\n  smtp: [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n"
	environ := []string{
		"POSTERN_LIMITS_HOPS=60", "POSTERN_LIMITS_RECIPIENTS=600", "POSTERN_LISTEN_SMTP=127.0.0.1:3, [::1]:3",
		"POSTERN_LISTEN_HTTP=none", "POSTERN_DATA=", "PATH=/bin", "POSTERN_CONFIG=x",
	}
	l, err := load(t, file, environ, Setting{"limits.recipients", "700", "--set"}, Setting{"tenants", "t.yaml", "--tenants"})
	if err != nil {
		t.Fatal(err)
	}
	c := l.Config
	if c.Limits.Errors != 5 || c.Limits.Hops != 60 || c.Limits.Recipients != 700 || c.Limits.Commands != 1000 || c.Data != "./file" || c.Tenants != "t.yaml" {
		t.Errorf("got %+v, data %s, tenants %s", c.Limits, c.Data, c.Tenants)
	}
	if diff := cmp.Diff([]Address{"127.0.0.1:3", "[::1]:3"}, c.Listen.SMTP); diff != "" || len(c.Listen.HTTP) != 0 || len(c.Listen.Metrics) != 1 {
		t.Errorf("lists are not replaced whole: %+v", c.Listen)
	}
	if c.Hostname != "mx1.example.net" {
		t.Errorf("hostname %q is not the machine's", c.Hostname)
	}
	got := make(map[string]string)
	for _, v := range l.Effective() {
		got[v.Path] = string(v.Source) + " " + v.Where
	}
	for path, want := range map[string]string{
		"limits.errors": "file postern.yaml:3", "limits.hops": "env POSTERN_LIMITS_HOPS", "limits.recipients": "flag --set",
		"limits.commands": "default ", "hostname": "machine ", "listen.http": "env POSTERN_LISTEN_HTTP", "data": "file postern.yaml:1", "tenants": "flag --tenants",
	} {
		if got[path] != want {
			t.Errorf("%s comes from %q, want %q", path, got[path], want)
		}
	}
	if len(l.Warnings) != 0 {
		t.Errorf("warnings: %q", l.Warnings)
	}
}

func TestEveryLeafCanBeSetByItsVariable(t *testing.T) {
	c := Default()
	for _, leaf := range leavesOf(&c) {
		text := leaf.text()
		if text == "" {
			text = "anything.example"
		}
		l, err := load(t, "tls: {certificate: a, key: b}\n", []string{leaf.env() + "=" + text})
		if err != nil {
			t.Errorf("%s: %v", leaf.env(), err)
			continue
		}
		for _, v := range l.Effective() {
			if v.Path == leaf.path && (v.Source != FromEnv || v.Value != text || v.Env != leaf.env()) {
				t.Errorf("%s=%s: got %+v", leaf.env(), text, v)
			}
		}
	}
}

func TestProblemsOfVariablesAndFlagsNameThem(t *testing.T) {
	_, err := load(t, "limits: {content: 1}\n",
		[]string{"POSTERN_LIMITS_CONTENT=50", "POSTERN_SMTP_BARE_NEWLINE=perhaps", "POSTERN_DNS_TRUST_AD=1"},
		Setting{"listen.smtp", "nonsense", "--listen-smtp"}, Setting{"limits.contents", "1MiB", "--set"})
	if err == nil {
		t.Fatal("no problem found")
	}
	absolute, _ := filepath.Abs("postern.yaml")
	golden2 := strings.ReplaceAll(err.Error(), absolute, "postern.yaml")
	for _, want := range []string{
		`postern.yaml:1:19: limits.content: want a size`,
		`POSTERN_LIMITS_CONTENT: limits.content: want a size`,
		`POSTERN_SMTP_BARE_NEWLINE: smtp.bare_newline: "perhaps" is not one of reject, normalise`,
		`POSTERN_DNS_TRUST_AD: dns.trust_ad: want true or false, not "1"`,
		`--listen-smtp: listen.smtp: "nonsense" is not address:port`,
		`--set: limits.contents: names no setting; did you mean limits.content?`,
	} {
		if !strings.Contains(golden2, want) {
			t.Errorf("missing %q in\n%s", want, golden2)
		}
	}
}

func TestAnUnknownVariableIsAWarning(t *testing.T) {
	l, err := load(t, "", []string{"POSTERN_LISTN_SMTP=127.0.0.1:25", "POSTERN_PORT=tcp://10.0.0.1:25", "POSTERN_FAILPOINT=x"})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Warnings) != 2 || !strings.Contains(l.Warnings[0], "did you mean POSTERN_LISTEN_SMTP?") {
		t.Errorf("got %q", l.Warnings)
	}
}

func TestANamedFileMustExistAndTheDefaultOneNeedNot(t *testing.T) {
	t.Chdir(t.TempDir())
	l, err := Load(Options{})
	if err != nil || l.File != "" {
		t.Fatalf("got %v, %v", l, err)
	}
	if _, err := Load(Options{File: "absent.yaml"}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

func TestAMachineWithoutAUsableNameIsLocalhost(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, ask := range []func() (string, error){
		func() (string, error) { return "not a name", nil },
		func() (string, error) { return "", errors.New("no name") },
	} {
		l, err := Load(Options{Machine: ask})
		if err != nil || l.Config.Hostname != "localhost" {
			t.Errorf("got %v, %v", l, err)
		}
	}
}

func TestSecretsAreHidden(t *testing.T) {
	config := struct {
		Token string `yaml:"token" secret:"true" doc:"..."`
		Other string `yaml:"other" doc:"..."`
		None  string `yaml:"none" secret:"true" doc:"..."`
	}{"planted", "plain", ""}
	all := effective(&config, nil)
	if all[0].Value != "(set)" || all[1].Value != "plain" || all[2].Value != "" {
		t.Errorf("got %+v", all)
	}
}

func TestSizesAndDurationsReadBackAsTheyPrint(t *testing.T) {
	for text, want := range map[string]Size{"0B": 0, "1B": 1, "64KiB": 64 << 10, "50MiB": 50 << 20, "8GiB": 8 << 30, "2TiB": 2 << 40, "1500B": 1500, "1.5KiB": 1536, "10kB": 10000, "3 MB": 3e6, "50mib": 50 << 20} {
		var got, again Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: got %d, %v", text, got, err)
		}
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("%s prints as %s", text, got)
		}
	}
	for _, text := range []string{"", "5", "5 ", "MiB", "-1B", "1e3B", "0x10B", "5MiBs", "1.5B", "9999999TiB", "5M", "Inf B", "NaNB"} {
		if new(Size).UnmarshalText([]byte(text)) == nil {
			t.Errorf("size %q was accepted", text)
		}
	}
	for text, want := range map[string]time.Duration{"0s": 0, "20ms": 20 * time.Millisecond, "5m": 5 * time.Minute, "90m": 90 * time.Minute, "5d": 120 * time.Hour, "1d12h": 36 * time.Hour, "1h0m1s": time.Hour + time.Second, "10h": 10 * time.Hour, "10m10s": 610 * time.Second} {
		var got, again Duration
		if err := got.UnmarshalText([]byte(text)); err != nil || got.Std() != want {
			t.Errorf("%s: got %s, %v", text, got, err)
		}
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("%s prints as %s", text, got)
		}
	}
	for _, text := range []string{"", "0", "5", "-5m", "5 m", "d", "1.5d", "5d5", "5min", "99999d9999999h"} {
		if new(Duration).UnmarshalText([]byte(text)) == nil {
			t.Errorf("duration %q was accepted", text)
		}
	}
}

func TestEveryLeafOfTheReferenceIsALeaf(t *testing.T) {
	c := Default()
	known := make(map[string]bool)
	for _, l := range leavesOf(&c) {
		known[l.path] = true
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` ").FindAllStringSubmatch(Reference(), -1)
	if len(rows) != len(known) {
		t.Errorf("%d rows, %d leaves", len(rows), len(known))
	}
	for _, row := range rows {
		if !known[row[1]] {
			t.Errorf("%s is no leaf", row[1])
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("limits: {content: 1MiB}\n", "127.0.0.1:25,[::1]:25", "5d")
	f.Add("listen:\n  smtp: []\n", "none", "1d1d")
	f.Fuzz(func(t *testing.T, file, address, span string) {
		if len(file) > 4096 || strings.ContainsRune(file, 0) {
			return
		}
		name := filepath.Join(t.TempDir(), "postern.yaml")
		if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Load(Options{File: name, Settings: []Setting{{"listen.smtp", address, "a"}, {"queue.expiry", span, "b"}}})
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		if again := l.Config.Validate(); again != nil {
			t.Fatalf("loaded and not valid: %v", again)
		}
	})
}
