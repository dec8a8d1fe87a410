package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/internal/limit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type question struct {
	Number int `json:"number"`
}

type answer struct {
	Number int `json:"number"`
}

// start serves dir until the test ends.
func start(t *testing.T, cfg Config, register func(*Server)) *Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.Hello = Hello{Version: "1.2.3", PID: 42, Hostname: "mx.example.net"}
	s, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if register != nil {
		register(s)
	}
	serve(t, s)
	return s
}

func serve(t *testing.T, s *Server) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func dial(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestACallIsAnswered(t *testing.T) {
	s := start(t, Config{}, func(s *Server) {
		Handle(s, "double", Operator, func(_ context.Context, q question) (answer, error) { return answer{q.Number * 2}, nil })
	})
	c := dial(t, filepath.Dir(s.Path()))
	if h := c.Hello(); h.Version != "1.2.3" || h.PID != 42 || h.Protocol != Protocol {
		t.Errorf("hello %+v", h)
	}
	got, err := Ask[answer](t.Context(), c, "double", question{21})
	if err != nil || got.Number != 42 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestErrorsCrossWithTheirCode(t *testing.T) {
	s := start(t, Config{}, func(s *Server) {
		Handle(s, "fail", Operator, func(_ context.Context, q question) (answer, error) {
			switch q.Number {
			case 1:
				return answer{}, Errorf(CodeNotFound, "no message %d", q.Number)
			case 2:
				return answer{}, fmt.Errorf("trace: %w", Errorf(CodeAmbiguous, "two"))
			case 3:
				return answer{}, context.DeadlineExceeded
			case 4:
				panic("a defect")
			}
			return answer{}, errors.New("disk on fire")
		})
	})
	c := dial(t, filepath.Dir(s.Path()))
	for number, want := range map[int]struct {
		code Code
		text string
	}{
		1: {CodeNotFound, "no message 1"}, 2: {CodeAmbiguous, "trace: two"}, 3: {CodeUnavailable, "not answered in time"},
		4: {CodeInternal, "defect"}, 5: {CodeInternal, "disk on fire"},
	} {
		_, err := Ask[answer](t.Context(), c, "fail", question{number})
		if !IsCode(err, want.code) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%d: got %v", number, err)
		}
	}
	if _, err := Ask[answer](t.Context(), c, "unheard", question{}); !IsCode(err, CodeUnknownCall) || !strings.Contains(err.Error(), "postern 1.2.3") {
		t.Errorf("unknown call: %v", err)
	}
	if _, err := Ask[answer](t.Context(), c, "fail", map[string]int{"nubmer": 1}); !IsCode(err, CodeBadRequest) || !strings.Contains(err.Error(), "nubmer") {
		t.Errorf("unknown key: %v", err)
	}
	if _, err := Ask[answer](t.Context(), c, "fail", strings.Repeat("x", maxRequest)); !IsCode(err, CodeBadRequest) {
		t.Errorf("a request too large: %v", err)
	}
}

func TestAStreamArrivesWholeAndInOrder(t *testing.T) {
	const items = 20_000
	s := start(t, Config{}, func(s *Server) {
		HandleStream(s, "count", Observer, func(_ context.Context, q question, emit func(answer) error) error {
			for i := range q.Number {
				if err := emit(answer{i}); err != nil {
					return err
				}
			}
			if q.Number == 7 {
				return Errorf(CodeUnavailable, "the spool closed")
			}
			return nil
		})
	})
	c := dial(t, filepath.Dir(s.Path()))
	next := 0
	err := Stream(t.Context(), c, "count", question{items}, func(a answer) error {
		if a.Number != next {
			return fmt.Errorf("got %d, want %d", a.Number, next)
		}
		next++
		return nil
	})
	if err != nil || next != items {
		t.Errorf("%d items, %v", next, err)
	}
	if err := Stream(t.Context(), c, "count", question{0}, func(answer) error { return errors.New("an item") }); err != nil {
		t.Errorf("an empty stream: %v", err)
	}
	seen := 0
	err = Stream(t.Context(), c, "count", question{7}, func(answer) error { seen++; return nil })
	if !IsCode(err, CodeUnavailable) || seen != 7 {
		t.Errorf("an error after items: %d, %v", seen, err)
	}
	stop := errors.New("enough")
	if err := Stream(t.Context(), c, "count", question{1_000_000}, func(answer) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("yield's error: %v", err)
	}
}

func TestAStreamThatWasCutIsAnError(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"protocol":%d}`, Protocol) })
	mux.HandleFunc("/v1/cut", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"item":{"number":1}}`) })
	mux.HandleFunc("/v1/short", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "{\"item\":{\"number\":1}}\n{\"end\":{\"items\":2}}\n")
	})
	server := &http.Server{Handler: mux}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { _ = server.Close(); <-served }()
	c := dial(t, dir)
	if err := Stream(t.Context(), c, "cut", None{}, func(answer) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without its end: %v", err)
	}
	if err := Stream(t.Context(), c, "short", None{}, func(answer) error { return nil }); err == nil {
		t.Error("with an item missing: no error")
	}
}

func TestANodeOfAnotherProtocolIsNamed(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"protocol":99,"version":"9.9","new_field":true}`)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { _ = server.Close(); <-served }()
	_, err = Dial(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "9.9") || !strings.Contains(err.Error(), "protocol 99") {
		t.Errorf("got %v", err)
	}
}

func TestRequestsBeyondTheBoundAreRefused(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	bound := limit.NewCount("control_requests", 1)
	s := start(t, Config{Requests: bound}, func(s *Server) {
		Handle(s, "wait", Operator, func(context.Context, None) (answer, error) {
			entered <- struct{}{}
			<-leave
			return answer{1}, nil
		})
	})
	c := dial(t, filepath.Dir(s.Path()))
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := Ask[answer](t.Context(), c, "wait", None{}); err != nil {
			t.Errorf("the one that fits: %v", err)
		}
	})
	<-entered
	if _, err := Ask[Hello](t.Context(), c, CallHello, None{}); !IsCode(err, CodeBusy) {
		t.Errorf("one too many: %v", err)
	}
	close(leave)
	waiting.Wait()
	if bound.InUse() != 0 {
		t.Errorf("%d requests are still counted", bound.InUse())
	}
}

func TestShutdownWaitsForARunningCallAndRemovesTheSocket(t *testing.T) {
	dir := t.TempDir()
	s, err := Listen(t.Context(), Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	Handle(s, "wait", Operator, func(context.Context, None) (answer, error) {
		close(entered)
		<-leave
		return answer{7}, nil
	})
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Serve(); err != nil {
			t.Error(err)
		}
	})
	c := dial(t, dir)
	running.Go(func() {
		if got, err := Ask[answer](t.Context(), c, "wait", None{}); err != nil || got.Number != 7 {
			t.Errorf("the call that ran: %v, %v", got, err)
		}
	})
	<-entered
	running.Go(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	close(leave)
	running.Wait()
	if _, err := os.Lstat(filepath.Join(dir, SocketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNoNode) {
		t.Errorf("dial after the end: %v", err)
	}
}

func TestTheSocketIsOnlyForItsOwnerFromItsFirstMoment(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	s := start(t, Config{}, nil)
	info, err := os.Lstat(s.Path())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestASocketLeftBehindIsReplacedAndOneInUseIsNot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SocketName)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrRunning) {
		t.Fatalf("someone answers there: %v", err)
	}
	left.SetUnlinkOnClose(false)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNoNode) || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("dial a socket left behind: %v", err)
	}
	start(t, Config{Dir: dir}, nil)
	if _, err := Listen(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrRunning) {
		t.Fatalf("a second node: %v", err)
	}
	dial(t, dir)
}

func TestAFileThatIsNoSocketIsNotRemoved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SocketName)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Fatalf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestALongDirectoryNameWorks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if len(filepath.Join(dir, SocketName)) <= maxSunPath {
		t.Fatal("not long enough")
	}
	s, err := Listen(t.Context(), Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s)
	dial(t, dir)
	if _, err := Listen(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrRunning) {
		t.Errorf("a second node: %v", err)
	}
}

func TestOnlyTheNodesUserAndRootAreLetIn(t *testing.T) {
	for _, c := range []struct {
		uid  uint32
		own  int
		want Role
	}{{0, 1000, Operator}, {1000, 1000, Operator}, {1001, 1000, 0}, {1000, 0, 0}, {4294967295, -1, 0}} {
		if got := ownerOnly(Credentials{UID: c.uid}, c.own); got != c.want {
			t.Errorf("uid %d to a node of %d: role %d", c.uid, c.own, got)
		}
	}
}

func TestThePeersCredentialsAreThoseOfItsProcess(t *testing.T) {
	seen := make(chan Credentials, 10)
	s := start(t, Config{Authorize: func(c Credentials) Role { seen <- c; return Operator }}, nil)
	dial(t, filepath.Dir(s.Path()))
	if c := <-seen; c.PID != os.Getpid() || int(c.UID) != os.Geteuid() || int(c.GID) != os.Getegid() {
		t.Errorf("got %+v", c)
	}
}

func TestAPeerWithoutARoleIsClosedUnheard(t *testing.T) {
	s := start(t, Config{Authorize: func(Credentials) Role { return 0 }}, nil)
	conn, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
		t.Errorf("it was told %q", line)
	}
	if _, err := Dial(t.Context(), filepath.Dir(s.Path())); err == nil || !strings.Contains(err.Error(), "own user and root") {
		t.Errorf("dial: %v", err)
	}
	if s.RefusedPeers() < 2 {
		t.Errorf("%d refusals counted", s.RefusedPeers())
	}
}

func TestConnectionsBeyondTheBoundAreClosedAndTheirPlacesComeBack(t *testing.T) {
	s := start(t, Config{}, nil)
	conns := make([]net.Conn, maxConnections)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("unix", s.Path()); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conns[i], "POST /v1/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		if line, err := bufio.NewReader(conns[i]).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("connection %d: %q, %v", i, line, err)
		}
	}
	one, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if _, err := bufio.NewReader(one).ReadString('\n'); err == nil {
		t.Error("one too many was answered")
	}
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	for { // until the server has noticed; the test's own deadline ends it otherwise
		c, err := Dial(t.Context(), filepath.Dir(s.Path()))
		if err == nil {
			c.Close()
			return
		}
		if !strings.Contains(err.Error(), "hung up") {
			t.Fatal(err)
		}
	}
}

func TestAnObserverMayLookAndNotChange(t *testing.T) {
	s := start(t, Config{Authorize: func(Credentials) Role { return Observer }}, func(s *Server) {
		Handle(s, "look", Observer, func(context.Context, None) (answer, error) { return answer{1}, nil })
		Handle(s, "change", Operator, func(context.Context, None) (answer, error) { return answer{1}, nil })
	})
	c := dial(t, filepath.Dir(s.Path()))
	if _, err := Ask[answer](t.Context(), c, "look", None{}); err != nil {
		t.Errorf("look: %v", err)
	}
	if _, err := Ask[answer](t.Context(), c, "change", None{}); !IsCode(err, CodeForbidden) {
		t.Errorf("change: %v", err)
	}
}

func TestWhyNoNodeAnswersIsSaid(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, want string }{
		{filepath.Join(dir, "absent"), "no such directory"},
		{dir, "(no socket there); start it with: postern serve"},
		{file, "no directory"},
	} {
		_, err := Dial(t.Context(), c.dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.dir) {
			t.Errorf("%s: got %v", c.dir, err)
		}
	}
}

func TestTheLedgersDifferenceIsZeroWhenItBalances(t *testing.T) {
	l := TenantLedger{Accepted: 10, Generated: 2, Delivered: 5, Bounced: 2, DSNSuppressed: 1, Discarded: 1, Deleted: 1, Held: 2}
	if l.Difference() != 0 {
		t.Errorf("got %d", l.Difference())
	}
	l.Held--
	if l.Difference() != 1 {
		t.Errorf("got %d", l.Difference())
	}
}
