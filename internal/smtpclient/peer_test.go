package smtpclient

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/internal/smtp"
)

func TestMain(m *testing.M) {
	if _, ok := os.LookupEnv(sinkEnv); ok {
		sink()
		return
	}
	goleak.VerifyTestMain(m)
}

// peer is one connection of a scripted server. Its methods give up silently
// when the client has gone: what the client saw is what is tested.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// playing is a listener that plays a script for every connection.
type playing struct {
	addr netip.AddrPort
	mu   sync.Mutex
	log  []string // what clients said, one line each; content as "DATA<...>"
	n    int
}

func (s *playing) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.log...)
}

func (s *playing) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, line)
}

func (s *playing) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// play serves connections on loopback until the test ends. script gets the
// connection and its number from 0.
func play(t *testing.T, script func(p *peer, n int)) (*playing, func(line string)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &playing{addr: l.Addr().(*net.TCPAddr).AddrPort()}
	var wg sync.WaitGroup
	var open []net.Conn
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			n := s.n
			s.n++
			open = append(open, conn)
			s.mu.Unlock()
			wg.Go(func() {
				defer conn.Close() //nolint:errcheck // a test's peer
				script(&peer{t: t, conn: conn, r: bufio.NewReader(conn)}, n)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		s.mu.Unlock()
		wg.Wait()
	})
	return s, s.note
}

func (p *peer) say(lines ...string) {
	_, _ = io.WriteString(p.conn, strings.Join(lines, "\r\n")+"\r\n")
}

// line reads one command; "" when the client has gone.
func (p *peer) line() string {
	s, err := p.r.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimRight(s, "\r\n")
}

// content reads up to the dot and returns it as it came, without the dot line.
func (p *peer) content() string {
	var b strings.Builder
	for {
		s, err := p.r.ReadString('\n')
		if err != nil {
			return "<cut>" + b.String()
		}
		if s == ".\r\n" {
			return b.String()
		}
		b.WriteString(s)
	}
}

// hello greets and answers EHLO with the keywords.
func (p *peer) hello(keywords ...string) {
	p.say("220 peer.test ESMTP")
	p.ehlo(keywords...)
}

func (p *peer) ehlo(keywords ...string) {
	p.line()
	lines := append([]string{"peer.test"}, keywords...)
	for i, k := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		lines[i] = "250" + sep + k
	}
	p.say(lines...)
}

// stall reads and never answers, until the client has gone.
func (p *peer) stall() { _, _ = io.Copy(io.Discard, p.r) }

// reset closes so that the client gets a reset and not an orderly end.
func (p *peer) reset() {
	_ = p.conn.(*net.TCPConn).SetLinger(0)
	_ = p.conn.Close()
}

// take plays a well-behaved peer from MAIL to QUIT and notes what it heard.
func (p *peer) take(note func(string)) {
	for {
		line := p.line()
		note(line)
		switch verb, _, _ := strings.Cut(line, " "); verb {
		case "":
			return
		case "DATA":
			p.say("354 go")
			note("DATA<" + p.content() + ">")
			p.say("250 2.0.0 taken")
		case "QUIT":
			p.say("221 bye")
			return
		default:
			p.say("250 2.1.0 ok")
		}
	}
}

// certificate makes a self-signed one for host, valid from and until.
func certificate(t *testing.T, host string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: until.Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// startTLS answers STARTTLS and goes on protected.
func (p *peer) startTLS(cert tls.Certificate) bool {
	p.line()
	p.say("220 go ahead")
	t := tls.Server(p.conn, &tls.Config{Certificates: []tls.Certificate{cert}})
	if t.Handshake() != nil {
		return false
	}
	p.conn, p.r = t, bufio.NewReader(t)
	return true
}

// quick are deadlines short enough for peers that never answer.
func quick() Deadlines {
	d := 60 * time.Millisecond
	return Deadlines{Connect: d, Greeting: d, Hello: d, Handshake: d, Mail: d, Rcpt: d, Data: d, Block: d, End: d, Reset: d, Quit: d, Grace: d}
}

func path(s string) smtp.Path {
	p, err := smtp.ParseMailbox(s)
	if err != nil {
		panic(err)
	}
	return p
}

func message(content string, rcpts ...string) *Transaction {
	t := &Transaction{Reverse: path("alice@example.org"), Content: strings.NewReader(content), Size: int64(len(content))}
	for _, r := range rcpts {
		t.Rcpts = append(t.Rcpts, Recipient{Path: path(r)})
	}
	return t
}

const hello = "Subject: hi\r\n\r\nhello\r\n"

func dial(t *testing.T, cl *Client, target Target) *Conn {
	t.Helper()
	c, err := cl.Dial(t.Context(), target)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// smallBuffers connects with a small send buffer, so that a slow reader is felt.
type smallBuffers struct{}

func (smallBuffers) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

// silence never connects.
type silence struct{}

func (silence) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
