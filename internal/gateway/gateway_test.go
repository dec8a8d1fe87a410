package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/node"
	"github.com/postern-mail/postern/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// notice is a buffer that says when it was written to.
type notice struct {
	mu      sync.Mutex
	b       bytes.Buffer
	written chan struct{} // closed at the first write
}

func (n *notice) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.b.Len() == 0 {
		close(n.written)
	}
	return n.b.Write(p)
}

func (n *notice) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

// config is a node on free ports in its own directory.
func config(t *testing.T) *node.Config {
	t.Helper()
	c := node.Default()
	c.Hostname, c.Data = "gw.example.test", filepath.Join(t.TempDir(), "data")
	free := []node.Address{"127.0.0.1:0"}
	c.Listen = node.Listen{SMTP: free, Submission: free, HTTP: free, Metrics: free, Demo: free}
	c.Spool.Ballast, c.Spool.MinFree = 0, 0
	return &c
}

// running is a demo node of this process.
type running struct {
	out  *notice
	log  *notice
	end  context.CancelFunc
	done chan error
}

func serve(t *testing.T, c *node.Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{
		out: &notice{written: make(chan struct{})}, log: &notice{written: make(chan struct{})},
		end: cancel, done: make(chan error, 1),
	}
	go func() { r.done <- Serve(ctx, Options{Config: c, Demo: true, Stdout: r.out, Log: r.log}) }()
	select {
	case <-r.out.written:
	case err := <-r.done:
		t.Fatalf("ended at start: %v\n%s", err, r.log)
	}
	return r
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.end()
	if err := <-r.done; err != nil {
		t.Errorf("stop: %v\n%s", err, r.log)
	}
}

func TestANodeStartsTellsWhatToTryAndLeavesNothingRunning(t *testing.T) {
	c := config(t)
	r := serve(t, c)
	for _, want := range []string{"swaks --server 127.0.0.1:", "postern demo inbox", "--auth-user alice"} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	client, err := control.Dial(context.Background(), c.Data)
	if err != nil {
		t.Fatal(err)
	}
	health, err := control.Ask[control.Health](context.Background(), client, control.CallHealth, control.None{})
	if err != nil || !health.Ready || len(health.Revision) != 64 {
		t.Errorf("health %+v, %v", health, err)
	}
	client.Close()
	r.stop(t)
	order := []string{"part=door", "part=queue", "part=\"control socket\"", "part=\"sample server\"", "part=spool", "part=\"data directory\""}
	at := -1
	for _, part := range order {
		i := strings.Index(r.log.String(), "msg=stopped "+part)
		if i <= at {
			t.Errorf("%s is not stopped in its turn:\n%s", part, r.log)
		}
		at = i
	}
}

func TestTwoNodesNeverShareADataDirectory(t *testing.T) {
	c := config(t)
	r := serve(t, c)
	defer r.stop(t)
	second := *c
	err := Serve(context.Background(), Options{Config: &second, Demo: true, Log: io.Discard})
	if !errors.Is(err, durable.ErrLocked) || !strings.Contains(err.Error(), c.Data) {
		t.Errorf("the second node says: %v", err)
	}
}

func TestAPortThatIsTakenIsNamedAndNothingIsLeftBehind(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	c := config(t)
	c.Listen.Submission = []node.Address{node.Address(taken.Addr().String())}
	err = Serve(context.Background(), Options{Config: c, Demo: true, Log: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "listen.submission") {
		t.Fatalf("got %v", err)
	}
	c.Listen.Submission = []node.Address{"127.0.0.1:0"}
	serve(t, c).stop(t) // the directory's lock was given back
}

func TestStopOverTheControlSocketEndsServe(t *testing.T) {
	c := config(t)
	r := serve(t, c)
	client, err := control.Dial(context.Background(), c.Data)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := control.Ask[control.StopReply](context.Background(), client, control.CallStop, control.StopRequest{DrainSeconds: -1}); !control.IsCode(err, control.CodeBadRequest) {
		t.Errorf("a negative drain: %v", err)
	}
	reply, err := control.Ask[control.StopReply](context.Background(), client, control.CallStop, control.StopRequest{DrainSeconds: 1})
	if err != nil || reply.PID != os.Getpid() {
		t.Errorf("%+v, %v", reply, err)
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

func TestTheDataDirectoryIsClosedToOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := claimDirectory(durable.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestTheSelfSignedCertificateIsMadeOnceAndReadAgain(t *testing.T) {
	dir := t.TempDir()
	names := []string{"gw.example.test", "localhost", "127.0.0.1"}
	first, err := openCertificate("", "", dir, names, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	again, err := openCertificate("", "", dir, names, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(leafOf(t, first).Raw, leafOf(t, again).Raw) {
		t.Error("a second start made another certificate")
	}
	for _, name := range names {
		if err := leafOf(t, first).VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, selfSignedName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	cert, key, err := selfSigned([]string{"other.example.test"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first.certFile, append(cert, key...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := first.reload(); err != nil || leafOf(t, first).VerifyHostname("other.example.test") != nil {
		t.Errorf("the new certificate is not in force: %v", err)
	}
	if err := os.WriteFile(first.certFile, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := first.reload(); err == nil || leafOf(t, first).VerifyHostname("other.example.test") != nil {
		t.Errorf("a bad file: %v", err)
	}
}

func leafOf(t *testing.T, c *certificate) *x509.Certificate {
	t.Helper()
	pair, err := c.config().GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestReadyzIsTrueOnlyWhileListenersServeAndEveryCheckHolds(t *testing.T) {
	var broken error
	h := &health{started: time.Now()}
	h.add("spool", func() error { return broken })
	handler := h.handler("gw.test", telemetry.WallClock)
	status := func(path string) (int, string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	for i, step := range []struct {
		do   func()
		want int
		says string
	}{
		{func() {}, 503, "the node is starting"},
		{h.serve, 200, "ready\n"},
		{func() { broken = errors.New("no room") }, 503, "no room"},
		{func() { broken = nil }, 200, "spool                ok"},
		{h.stop, 503, "the node is stopping"},
	} {
		step.do()
		if code, body := status("/readyz"); code != step.want || !strings.Contains(body, step.says) {
			t.Errorf("step %d: %d %q; want %d %q", i, code, body, step.want, step.says)
		}
		if code, _ := status("/healthz"); code != 200 {
			t.Errorf("step %d: /healthz says %d", i, code)
		}
	}
	if code, body := status("/"); code != 200 || !strings.Contains(body, "Postern") {
		t.Errorf("/: %d %q", code, body)
	}
	if code, _ := status("/nowhere"); code != 404 {
		t.Errorf("/nowhere: %d", code)
	}
}

func TestWithoutATenantsFileNobodyIsServedAndABadOneStopsTheStart(t *testing.T) {
	c := config(t)
	g := &gateway{cfg: c, log: telemetry.Discard().Logger}
	if err := g.loadTenants(); err != nil || g.tenants.Current().Counts().Tenants != 0 {
		t.Errorf("no file: %v", err)
	}
	c.Tenants = filepath.Join(t.TempDir(), "tenants.yaml")
	if err := g.loadTenants(); err == nil {
		t.Error("a named file that is not there was taken")
	}
	if err := os.WriteFile(c.Tenants, []byte("tenants: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.loadTenants(); err == nil || !strings.Contains(fmt.Sprint(err), ":1:") {
		t.Errorf("a bad file: %v", err)
	}
}
