package smtpserver

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/postern-mail/postern/internal/smtp"
)

// message is what a recorder was given.
type message struct {
	from    smtp.Path
	params  smtp.MailParams
	to      []smtp.Path
	rcpts   []smtp.RcptParams
	content string
	conn    Conn
}

// recorder is a Handler that accepts mail for alice, bob, carol, user and
// postmaster, keeps it, and watches that the server keeps its promises.
type recorder struct {
	t testing.TB

	mu       sync.Mutex
	messages []message
	conns    []Conn // as Connect saw them
	opened   int
	closed   int
	aborted  int

	onConnect func(*Conn) smtp.Reply
	onContent func() smtp.Reply
	onWrite   func() error
	onCommit  func() smtp.Reply
	anyone    bool // accept every recipient
}

func (r *recorder) Connect(_ context.Context, c *Conn) (Session, smtp.Reply) {
	r.mu.Lock()
	r.opened++
	r.conns = append(r.conns, *c)
	r.mu.Unlock()
	if r.onConnect != nil {
		if reply := r.onConnect(c); !reply.IsZero() {
			return &recording{r: r, c: c}, reply
		}
	}
	return &recording{r: r, c: c}, smtp.Reply{}
}

func (r *recorder) got() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]message(nil), r.messages...)
}

func (r *recorder) counts() (opened, closed, aborted int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened, r.closed, r.aborted
}

type recording struct {
	r      *recorder
	c      *Conn
	m      message
	open   bool // content is open
	closed bool
	body   []byte
}

func (s *recording) Hello(context.Context) smtp.Reply { return smtp.Reply{} }

func (s *recording) Auth(_ context.Context, _, _, user, password string) smtp.Reply {
	if user == "alice" && password == "secret" {
		return smtp.Reply{}
	}
	return smtp.AuthFailed()
}

func (s *recording) Mail(_ context.Context, from smtp.Path, p smtp.MailParams) smtp.Reply {
	s.m = message{from: from, params: p}
	return smtp.Reply{}
}

func (s *recording) Rcpt(_ context.Context, to smtp.Path, p smtp.RcptParams) smtp.Reply {
	switch {
	case s.r.anyone:
	case strings.HasSuffix(to.Domain, "elsewhere.test"):
		return smtp.RelayDenied()
	default:
		switch smtp.LocalKey(to.Local) {
		case "alice", "bob", "carol", "user", "postmaster":
		default:
			return smtp.NoSuchUser()
		}
	}
	s.m.to = append(s.m.to, to)
	s.m.rcpts = append(s.m.rcpts, p)
	return smtp.Reply{}
}

func (s *recording) Content(context.Context) (Content, smtp.Reply) {
	if s.open {
		s.r.t.Error("Content was asked for twice")
	}
	if s.r.onContent != nil {
		if r := s.r.onContent(); !r.IsZero() {
			return nil, r
		}
	}
	s.open = true
	s.body = s.body[:0]
	return (*recordingContent)(s), smtp.Reply{}
}

func (s *recording) Reset() {
	if s.open {
		s.r.t.Error("Reset with content open")
	}
	s.m = message{}
}

func (s *recording) Close() {
	if s.closed || s.open {
		s.r.t.Errorf("Close: closed %v, content open %v", s.closed, s.open)
	}
	s.closed = true
	s.r.mu.Lock()
	s.r.closed++
	s.r.mu.Unlock()
}

type recordingContent recording

func (s *recordingContent) Write(p []byte) (int, error) {
	if len(p) == 0 || !s.open {
		s.r.t.Errorf("Write of %d octets, open %v", len(p), s.open)
	}
	if s.r.onWrite != nil {
		if err := s.r.onWrite(); err != nil {
			return 0, err
		}
	}
	s.body = append(s.body, p...)
	return len(p), nil
}

func (s *recordingContent) Commit(ctx context.Context) smtp.Reply {
	if !s.open {
		s.r.t.Error("Commit of closed content")
	}
	s.open = false
	if ctx.Done() != nil {
		s.r.t.Error("the context of Commit can be cancelled")
	}
	if s.r.onCommit != nil {
		if r := s.r.onCommit(); !r.IsZero() && !r.Positive() {
			return r
		}
	}
	s.m.content = string(s.body)
	s.m.conn = *s.c
	s.r.mu.Lock()
	s.r.messages = append(s.r.messages, s.m)
	s.r.mu.Unlock()
	return smtp.Accepted("test")
}

func (s *recordingContent) Abort() {
	if !s.open {
		s.r.t.Error("Abort of closed content")
	}
	s.open = false
	s.r.mu.Lock()
	s.r.aborted++
	s.r.mu.Unlock()
}

// started is a server under test with its listener.
type started struct {
	*Server
	addr string
	rec  *recorder
}

// start runs a server until the test ends.
func start(t testing.TB, c Config, rec *recorder) *started {
	t.Helper()
	if c.Hostname == "" {
		c.Hostname = "mx.example.test"
	}
	if rec == nil {
		rec = &recorder{}
	}
	rec.t = t
	srv, err := New(c, rec)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if o, c, _ := rec.counts(); o != c {
			t.Errorf("%d sessions opened, %d closed", o, c)
		}
	})
	return &started{srv, ln.Addr().String(), rec}
}

// client is the other end, in the test's hands.
type client struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t, nc, bufio.NewReader(nc)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatalf("send %.40q: %v", s, err)
	}
}

// reply reads one reply and returns its lines without CRLF.
func (c *client) reply() []string {
	c.t.Helper()
	var lines []string
	for {
		line, err := c.br.ReadString('\n')
		if err != nil {
			c.t.Fatalf("after %q: %v", lines, err)
		}
		line, ok := strings.CutSuffix(line, "\r\n")
		if !ok || len(line) < 4 {
			c.t.Fatalf("reply line %q", line)
		}
		lines = append(lines, line)
		if line[3] == ' ' {
			return lines
		}
	}
}

// want reads one reply and compares its start.
func (c *client) want(prefix string) {
	c.t.Helper()
	lines := c.reply()
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, prefix) {
		c.t.Fatalf("reply %q, want %q", lines, prefix)
	}
}

// say sends a command and wants a reply.
func (c *client) say(command, prefix string) {
	c.t.Helper()
	c.send(command + "\r\n")
	c.want(prefix)
}

// wantClosed wants the end of the connection and no octet before.
func (c *client) wantClosed() {
	c.t.Helper()
	rest, err := io.ReadAll(c.br)
	if len(rest) > 0 || err != nil && !errors.Is(err, io.EOF) {
		c.t.Fatalf("wanted the end of the connection, got %q, %v", rest, err)
	}
}

func (c *client) startTLS(cfg *tls.Config) {
	c.t.Helper()
	tc := tls.Client(c.nc, cfg)
	if err := tc.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.nc, c.br = tc, bufio.NewReader(tc)
}

// testTLS returns a server's and a client's configuration.
func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.example.test"},
		DNSNames: []string{"mx.example.test"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	server = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }}
	return server, &tls.Config{RootCAs: roots, ServerName: "mx.example.test"}
}

// suite returns the folder of a shared test suite, or skips the test.
func suite(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "testdata", name)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("suite %s is not here: %v", name, err)
	}
	return dir
}

// until waits for a fact that another goroutine brings about.
func until(t testing.TB, what string, fact func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for !fact() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited too long: %s", what)
		}
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// counted returns what a counter stands at.
func counted(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var v dto.Metric
	if err := m.Write(&v); err != nil {
		t.Fatal(err)
	}
	return v.GetCounter().GetValue()
}
