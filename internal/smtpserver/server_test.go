package smtpserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/postern-mail/postern/internal/smtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// transact brings a client to where content is due.
func transact(c *client) {
	c.t.Helper()
	c.want("220")
	c.say("EHLO client.example.org", "250")
	c.say("MAIL FROM:<sender@example.org>", "250")
	c.say("RCPT TO:<alice@example.test>", "250")
	c.say("DATA", "354")
}

func TestShutdownSays421ToIdleSessions(t *testing.T) {
	s := start(t, Config{}, nil)
	fresh, greeted := dial(t, s.addr), dial(t, s.addr)
	fresh.want("220")
	greeted.want("220")
	greeted.say("EHLO client.example.org", "250")
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	for _, c := range []*client{fresh, greeted} {
		c.want("421 4.3.2")
		c.wantClosed()
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("the listener still accepts")
	}
}

func TestShutdownLetsATransactionEnd(t *testing.T) {
	s := start(t, Config{}, nil)
	c := dial(t, s.addr)
	transact(c)
	c.send("first half\r\n")
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	until(t, "the server to stop accepting", s.draining.Load)
	c.send("second half\r\n.\r\n")
	c.want("250 2.0.0")
	c.want("421 4.3.2")
	c.wantClosed()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := s.rec.got(); len(got) != 1 || got[0].content != "first half\r\nsecond half\r\n" {
		t.Errorf("%+v", got)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	s := start(t, Config{}, nil)
	c := dial(t, s.addr)
	transact(c)
	c.send("half a message\r\n")
	between := dial(t, s.addr)
	between.want("220")
	between.say("EHLO client.example.org", "250")
	between.say("MAIL FROM:<a@b.test>", "250")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err := s.Shutdown(ctx)
	var cut *CutError
	if !errors.As(err, &cut) || cut.Sessions != 2 || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 sessions cut") {
		t.Error(err)
	}
	for _, c := range []*client{c, between} {
		c.want("421 4.3.2")
		c.wantClosed()
	}
	if _, _, aborted := s.rec.counts(); aborted != 1 || s.Open() != 0 {
		t.Errorf("%d contents aborted, %d connections open", aborted, s.Open())
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	srv, err := New(Config{Hostname: "mx.example.test"}, &recorder{t: t})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.Serve(ctx, ln); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	ln, err = Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Serve(context.Background(), ln); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("a server that is shut down serves")
	}
}

// counting counts the writes of a server's connection.
type counting struct {
	scripted
	writes [][]byte
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes = append(c.writes, append([]byte(nil), p...))
	return len(p), nil
}

func TestAPipelinedGroupGetsOneWrite(t *testing.T) {
	srv, err := New(Config{Hostname: "mx.example.test"}, &recorder{t: t})
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{}
	c.in.Reset([]byte("EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n"))
	runScripted(srv, c)
	if len(c.writes) != 2 || !bytes.HasPrefix(c.writes[0], []byte("220 ")) || bytes.Count(c.writes[1], []byte("\r\n")) != 10+1+2+1+1+2+1 {
		t.Errorf("%d writes: %q", len(c.writes), c.writes)
	}
}

func TestAClientThatTalksFirstIsRefused(t *testing.T) {
	s := start(t, Config{GreetWait: 5 * time.Second}, nil)
	c := dial(t, s.addr)
	c.send("EHLO early.example.org\r\n")
	c.want("554 5.5.0")
	c.wantClosed()
	s = start(t, Config{GreetWait: 30 * time.Millisecond}, nil)
	c = dial(t, s.addr)
	c.want("220")
	c.say("EHLO patient.example.org", "250")
}

func TestShutdownReachesAClientThatWaitsForTheGreeting(t *testing.T) {
	s := start(t, Config{GreetWait: 30 * time.Second}, nil)
	c := dial(t, s.addr)
	until(t, "the session", func() bool { o, _, _ := s.rec.counts(); return o == 1 })
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	c.want("421 4.3.2")
	c.wantClosed()
}

func TestEachPhaseHasItsDeadline(t *testing.T) {
	const soon = 50 * time.Millisecond
	server, secure := testTLS(t)
	command := func(c *client) { c.want("220"); c.send("EHL") }
	content := func(c *client) { transact(c); c.send("x\r\n") }
	tests := []struct {
		name   string
		config Config
		until  func(*client)
		reply  string
		why    cut
	}{
		{"command", Config{Deadlines: Deadlines{Command: soon}}, command, "421 4.4.2 Nothing heard", cutTimeout},
		{"content", Config{Deadlines: Deadlines{DataBlock: soon}}, content, "421 4.4.2 Nothing heard", cutTimeout},
		{"rate", Config{Deadlines: Deadlines{RateGrace: soon}}, content, "421 4.4.2 Content came too slowly", cutSlow},
		{"whole content", Config{Deadlines: Deadlines{Content: soon}}, content, "421 4.4.2 Content came too slowly", cutSlow},
		{"whole content in chunks", Config{Deadlines: Deadlines{Content: 300 * time.Millisecond}}, func(c *client) {
			c.want("220")
			c.say("EHLO client.example.org", "250")
			c.say("MAIL FROM:<sender@example.org>", "250")
			c.say("RCPT TO:<alice@example.test>", "250")
			c.send("BDAT 3\r\nx\r\n")
			c.want("250")
			c.send("BDAT 3\r\nx")
		}, "421 4.4.2 Content came too slowly", cutSlow},
		{"session", Config{Deadlines: Deadlines{Session: soon}}, command, "421 4.4.2 This session lasted too long", cutSessionTotal},
		{"session in content", Config{Deadlines: Deadlines{Session: 300 * time.Millisecond}}, content, "421 4.4.2 This session", cutSessionTotal},
		{"command under TLS", Config{TLS: server, Deadlines: Deadlines{Command: 300 * time.Millisecond}}, func(c *client) {
			c.want("220")
			c.say("STARTTLS", "220")
			c.startTLS(secure)
		}, "421 4.4.2 Nothing heard", cutTimeout},
		{"proxy header", Config{ProxyProtocol: true, Deadlines: Deadlines{ProxyHeader: soon}}, func(c *client) { c.send("PRO") }, "", cutProxyHeader},
		{"TLS handshake", Config{TLS: server, ImplicitTLS: true, Deadlines: Deadlines{TLSHandshake: soon}}, func(*client) {}, "", cuts},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, tt.config, nil)
			c := dial(t, s.addr)
			tt.until(c)
			if tt.reply != "" {
				c.want(tt.reply)
			}
			c.wantClosed()
			if tt.why != cuts && counted(t, s.tally.cuts[tt.why]) != 1 {
				t.Errorf("not counted as %s", tt.why)
			}
		})
	}
}

// TestADrippingClientIsCut sends content that keeps every single wait short
// and misses the minimum rate all the same.
func TestADrippingClientIsCut(t *testing.T) {
	s := start(t, Config{MinRate: 1000, Deadlines: Deadlines{RateGrace: 100 * time.Millisecond}}, nil)
	c := dial(t, s.addr)
	transact(c)
	stop := make(chan struct{})
	var drip sync.WaitGroup
	drip.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := io.WriteString(c.nc, "x"); err != nil {
					return
				}
			}
		}
	})
	c.want("421 4.4.2 Content came too slowly")
	close(stop)
	drip.Wait()
}

// TestAClientThatKeepsTheRateIsNot pauses, for longer than the grace, after it
// sent enough.
func TestAClientThatKeepsTheRateIsNotCut(t *testing.T) {
	s := start(t, Config{MinRate: 1000, Deadlines: Deadlines{RateGrace: 50 * time.Millisecond}}, nil)
	c := dial(t, s.addr)
	transact(c)
	c.send(strings.Repeat(strings.Repeat("x", 98)+"\r\n", 100)) // 10 s of credit
	wait(context.Background(), 200*time.Millisecond)
	c.send(".\r\n")
	c.want("250 2.0.0")
}

// TestOurOwnSlownessIsNotTheClients lets the handler take longer than the
// grace of the minimum rate.
func TestOurOwnSlownessIsNotTheClients(t *testing.T) {
	rec := &recorder{onWrite: func() error { wait(context.Background(), 150*time.Millisecond); return nil }}
	s := start(t, Config{MinRate: 1 << 30, Deadlines: Deadlines{RateGrace: 100 * time.Millisecond}}, rec)
	c := dial(t, s.addr)
	transact(c)
	c.send("x\r\n")
	until(t, "the first half", func() bool { return counted(t, s.tally.replies[3]) == 1 })
	c.send("y\r\n.\r\n")
	c.want("250 2.0.0")
}

func TestAPanicEndsItsSessionAndNoOther(t *testing.T) {
	var logged bytes.Buffer
	rec := &recorder{}
	s := start(t, Config{Logger: slog.New(slog.NewJSONHandler(&logged, nil))}, rec)
	other := dial(t, s.addr)
	other.want("220")
	rec.onCommit = func() smtp.Reply { panic("a fault in the handler") }
	c := dial(t, s.addr)
	transact(c)
	c.send("x\r\n.\r\n")
	c.want("421 4.3.0")
	c.wantClosed()
	other.say("NOOP", "250")
	until(t, "the session to be gone", func() bool { return s.Open() == 1 })
	if n := counted(t, s.tally.panics); n != 1 {
		t.Errorf("%v panics counted", n)
	}
	if !strings.Contains(logged.String(), "a fault in the handler") {
		t.Errorf("log: %s", &logged)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s := start(t, Config{MaxConnections: 2}, nil)
	a, b := dial(t, s.addr), dial(t, s.addr)
	a.want("220")
	b.want("220")
	c := dial(t, s.addr)
	c.want("421 4.3.2 Too many connections here")
	c.wantClosed()
	a.say("QUIT", "221")
	until(t, "a free place", func() bool { return s.Open() == 1 })
	d := dial(t, s.addr)
	d.want("220")
}

func TestAPeersShareIsBoundedAndGivenBack(t *testing.T) {
	var taken atomic.Int64
	admit := func(a netip.Addr) (func(), bool) {
		if a != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("asked for %v", a)
		}
		if taken.Add(1) > 1 {
			taken.Add(-1)
			return nil, false
		}
		return func() { taken.Add(-1) }, true
	}
	s := start(t, Config{Admit: admit}, nil)
	a := dial(t, s.addr)
	a.want("220")
	b := dial(t, s.addr)
	b.want("421 4.7.0")
	b.wantClosed()
	a.say("QUIT", "221")
	until(t, "the place to be given back", func() bool { return taken.Load() == 0 })
	dial(t, s.addr).want("220")
}

func TestTheHandlerMayRefuseAConnection(t *testing.T) {
	rec := &recorder{onConnect: func(*Conn) smtp.Reply { return smtp.NoService() }}
	s := start(t, Config{}, rec)
	c := dial(t, s.addr)
	c.want("554 5.7.1")
	c.wantClosed()
}

// sized is an error with a reply, as a spool's would be.
type sized struct{}

func (sized) Error() string         { return "no room" }
func (sized) SMTPReply() smtp.Reply { return smtp.NoStorage() }

func TestWhatTheHandlerRefusesIsAnsweredInItsWords(t *testing.T) {
	tests := []struct {
		name   string
		set    func(*recorder)
		reply  string // to DATA or the content
		refuse bool   // at DATA
		closed bool
	}{
		{"content with a reply", func(r *recorder) { r.onContent = smtp.NoStorage }, "452 4.3.1", true, false},
		{"write with a reply", func(r *recorder) { r.onWrite = func() error { return sized{} } }, "452 4.3.1", false, true},
		{"write without one", func(r *recorder) { r.onWrite = func() error { return os.ErrClosed } }, "451 4.3.0", false, true},
		{"commit deferred", func(r *recorder) { r.onCommit = smtp.LocalError }, "451 4.3.0", false, false},
		{"commit refused", func(r *recorder) { r.onCommit = smtp.Loop }, "554 5.4.6", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := &recorder{}
			tt.set(rec)
			s := start(t, Config{}, rec)
			c := dial(t, s.addr)
			c.want("220")
			c.say("EHLO client.example.org", "250")
			c.say("MAIL FROM:<sender@example.org>", "250")
			c.say("RCPT TO:<alice@example.test>", "250")
			if tt.refuse {
				c.say("DATA", tt.reply)
			} else {
				c.say("DATA", "354")
				c.send("x\r\n.\r\n")
				c.want(tt.reply)
			}
			if tt.closed {
				c.wantClosed()
			} else {
				c.say("MAIL FROM:<sender@example.org>", "250")
			}
			if n := len(rec.got()); n != 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

// TestAClientThatSendsAllFirstReadsWhyItWasCut pours in more than is accepted
// before it reads: a close without lingering would reset the connection and
// take the 552 with it.
func TestAClientThatSendsAllFirstReadsWhyItWasCut(t *testing.T) {
	s := start(t, Config{MaxContentOctets: 1 << 20}, nil)
	c := dial(t, s.addr)
	transact(c)
	line := strings.Repeat("x", 998) + "\r\n"
	c.send(strings.Repeat(line, 8<<10)) // 8 MiB
	c.send(".\r\nQUIT\r\n")
	c.want("552 5.3.4")
	c.wantClosed()
}

func TestFactsOfTheConnectionReachTheHandler(t *testing.T) {
	server, secure := testTLS(t)
	s := start(t, Config{Name: "submission", Submission: true, TLS: server}, nil)
	c := dial(t, s.addr)
	c.want("220")
	c.say("STARTTLS", "220")
	c.startTLS(secure)
	c.say("EHLO client.example.org", "250")
	c.say("AUTH PLAIN AGFsaWNlAHNlY3JldA==", "235")
	c.say("MAIL FROM:<alice@example.test> SMTPUTF8", "250")
	c.say("RCPT TO:<alice@example.test>", "250")
	c.say("DATA", "354")
	c.say(".", "250")
	got := s.rec.got()
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	f := got[0].conn
	if f.Protocol() != "UTF8SMTPSA" || f.User != "alice" || f.Hello != "client.example.org" || f.Listener != "submission" || !f.Submission {
		t.Errorf("%+v", f)
	}
	if f.TLSText != "TLS1.3 TLS_AES_128_GCM_SHA256" || f.TLSName != "mx.example.test" || f.TLS == nil {
		t.Errorf("TLS %q, name %q", f.TLSText, f.TLSName)
	}
	if f.Remote.String() != c.nc.LocalAddr().String() || f.Local.String() != s.addr || f.ProxiedFrom.IsValid() {
		t.Errorf("remote %v, local %v", f.Remote, f.Local)
	}
}

func TestProtocolWords(t *testing.T) {
	for want, c := range map[string]Conn{
		"SMTP": {}, "ESMTP": {ESMTP: true}, "ESMTPS": {ESMTP: true, TLSText: "x"}, "ESMTPA": {ESMTP: true, User: "a"},
		"ESMTPSA": {ESMTP: true, TLSText: "x", User: "a"}, "UTF8SMTP": {ESMTP: true, UTF8: true}, "UTF8SMTPS": {ESMTP: true, UTF8: true, TLSText: "x"},
	} {
		if got := c.Protocol(); got != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
	}
}

func TestIPv6ClientsAreServed(t *testing.T) {
	ln, err := Listen(context.Background(), "tcp", "[::1]:0")
	if err != nil {
		t.Fatalf("no IPv6 here: %v", err)
	}
	rec := &recorder{t: t}
	srv, err := New(Config{Hostname: "mx.example.test"}, rec)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), ln) }()
	c := dial(t, ln.Addr().String())
	transact(c)
	c.say(".", "250")
	if got := rec.got(); got[0].conn.Remote.Addr() != netip.MustParseAddr("::1") {
		t.Errorf("%v", got[0].conn.Remote)
	}
	if err := srv.Shutdown(context.Background()); err != nil || <-served != nil {
		t.Error(err)
	}
}

func TestImplicitTLSSpeaksFromTheFirstOctet(t *testing.T) {
	server, secure := testTLS(t)
	s := start(t, Config{TLS: server, ImplicitTLS: true}, nil)
	c := dial(t, s.addr)
	c.startTLS(secure)
	transact(c)
	c.say(".", "250")
	if got := s.rec.got(); got[0].conn.Protocol() != "ESMTPS" {
		t.Error(got[0].conn.Protocol())
	}
}

func TestCertificatesChangeWhileTheServerRuns(t *testing.T) {
	one, secureOne := testTLS(t)
	two, secureTwo := testTLS(t)
	var current atomic.Pointer[tls.Config]
	current.Store(one)
	s := start(t, Config{TLS: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.Load(), nil }}}, nil)
	for _, secure := range []*tls.Config{secureOne, secureTwo} {
		c := dial(t, s.addr)
		c.want("220")
		c.say("STARTTLS", "220")
		c.startTLS(secure)
		c.say("NOOP", "250")
		current.Store(two)
	}
}

func TestReadAheadAfterSTARTTLSIsCountedAndLogged(t *testing.T) {
	server, secure := testTLS(t)
	var logged bytes.Buffer
	s := start(t, Config{TLS: server, Logger: slog.New(slog.NewJSONHandler(&logged, nil))}, nil)
	c := dial(t, s.addr)
	c.want("220")
	c.send("STARTTLS\r\nMAIL FROM:<evil@relay>\r\n")
	c.want("220")
	c.startTLS(secure)
	c.say("NOOP", "250 2.0.0")
	if n := counted(t, s.tally.cuts[cutReadAhead]); n != 1 {
		t.Errorf("counted %v times", n)
	}
	if !strings.Contains(logged.String(), `"octets":24`) {
		t.Errorf("log: %s", &logged)
	}
}

func TestMetricsAreRegisteredOnceForManyListeners(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	a := start(t, Config{Name: "smtp", Metrics: m}, nil)
	b := start(t, Config{Name: "submission", Submission: true, Metrics: m}, nil)
	for _, s := range []*started{a, b} {
		c := dial(t, s.addr)
		c.want("220")
		c.say("EHLO c", "250")
		c.say("QUIT", "221")
		c.wantClosed()
	}
	families, err := reg.Gather()
	if err != nil || len(families) < 8 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	if n := counted(t, m.commands.WithLabelValues("submission", "EHLO")); n != 1 {
		t.Errorf("%v EHLO counted", n)
	}
}

func TestAConfigThatCannotWorkIsRefusedWithEveryReason(t *testing.T) {
	_, err := New(Config{Hostname: "two words", ImplicitTLS: true, RequireTLS: true, GreetWait: time.Hour, Newlines: 2, Deadlines: Deadlines{Write: -1}}, sink{})
	for _, want := range []string{"Hostname", "ImplicitTLS", "RequireTLS", "GreetWait", "Newlines", "deadline"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in %v", want, err)
		}
	}
}

// TestAClientThatDoesNotReadIsCut fills every buffer with replies.
func TestAClientThatDoesNotReadIsCut(t *testing.T) {
	s := start(t, Config{MaxVerbs: -1, Deadlines: Deadlines{Write: 100 * time.Millisecond, Linger: time.Millisecond}}, nil)
	c := dial(t, s.addr)
	c.want("220")
	noops := strings.Repeat("HELP\r\n", 4096)
	for {
		if _, err := io.WriteString(c.nc, noops); err != nil {
			break
		}
	}
	until(t, "the session to be gone", func() bool { return s.Open() == 0 })
	if _, err := bufio.NewReader(c.nc).WriteTo(io.Discard); err == nil {
		t.Log("the client read what was in its buffers")
	}
}
