package relay

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/internal/dns"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpclient"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer answers by a function from command to reply: "" closes, "stall" is
// silent for ever, "reset" resets; a nil function is a well-behaved peer.
type peer struct {
	keywords []string
	greeting string // default "220 peer.test ESMTP"
	answer   func(conn, message int, verb, line string) string

	mu    sync.Mutex
	conns int
	took  []string // contents that were answered with 2yz
	lines []string
	addr  netip.AddrPort
}

func (p *peer) taken() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.took...)
}

func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// start serves on a loopback address until the test ends.
func (p *peer) start(t *testing.T, ip string) *peer {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatalf("listen on %s: %v", ip, err)
	}
	return p.serve(t, l)
}

func (p *peer) serve(t *testing.T, l net.Listener) *peer {
	p.addr = l.Addr().(*net.TCPAddr).AddrPort()
	var wg sync.WaitGroup
	var open []net.Conn
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			n := p.conns
			p.conns++
			open = append(open, conn)
			p.mu.Unlock()
			wg.Go(func() {
				defer conn.Close() //nolint:errcheck // a test's peer
				p.talk(conn, n)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

func (p *peer) talk(conn net.Conn, n int) {
	r := bufio.NewReader(conn)
	message := 0
	reply := ""
	say := func(verb, line, otherwise string) bool {
		reply = otherwise
		if p.answer != nil {
			if s := p.answer(n, message, verb, line); s != "ok" {
				reply = s
			}
		}
		switch reply {
		case "":
			return false
		case "stall":
			_, _ = io.Copy(io.Discard, r)
			return false
		case "reset":
			_ = conn.(*net.TCPConn).SetLinger(0)
			return false
		}
		if verb == "DOT" && reply[0] == '2' && line != "" {
			p.mu.Lock()
			p.took = append(p.took, line)
			p.mu.Unlock()
		}
		_, _ = io.WriteString(conn, reply+"\r\n")
		return reply[0] == '2' || reply[0] == '3' || !strings.HasPrefix(reply, "421")
	}
	greeting := p.greeting
	if greeting == "" {
		greeting = "220 peer.test ESMTP"
	}
	if !say("", "", greeting) || greeting[0] != '2' {
		return
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		p.mu.Lock()
		p.lines = append(p.lines, line)
		p.mu.Unlock()
		verb, _, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO":
			if !say(verb, line, "250-peer.test\r\n250-"+strings.Join(append(p.keywords, "X"), "\r\n250-")+"\r\n250 HELP") {
				return
			}
		case "DATA":
			if !say(verb, line, "354 go") {
				return
			}
			if !strings.Contains(reply, "354") {
				continue
			}
			var b strings.Builder
			for {
				s, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if s == ".\r\n" {
					break
				}
				b.WriteString(s)
			}
			if !say("DOT", b.String(), "250 2.0.0 taken") {
				return
			}
			message++
		case "QUIT":
			say(verb, line, "221 bye")
			return
		default:
			if !say(verb, line, "250 2.0.0 ok") {
				return
			}
		}
	}
}

// on answers verb with reply and everything else well.
func on(verb, reply string) func(int, int, string, string) string {
	return func(_, _ int, v, _ string) string {
		if v == verb {
			return reply
		}
		return "ok"
	}
}

// patient are deadlines that only a test that hangs reaches.
func patient() smtpclient.Deadlines {
	d := 30 * time.Second
	return smtpclient.Deadlines{Connect: d, Greeting: d, Hello: d, Handshake: d, Mail: d, Rcpt: d, Data: d, Block: d, End: d, Reset: d, Quit: d, Grace: d}
}

// port makes every connection go to one port, so that MX hosts on several
// loopback addresses can be told apart without a privileged one.
type ports map[netip.Addr]netip.AddrPort

func (m ports) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if to, ok := m[netip.MustParseAddrPort(addr).Addr()]; ok {
		addr = to.String()
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

func relay(t *testing.T, cfg Config, client smtpclient.Config) *Relay {
	t.Helper()
	if cfg.Resolver == nil {
		cfg.Resolver = dns.Split{}
	}
	if client.Deadlines == (smtpclient.Deadlines{}) {
		client.Deadlines = patient()
	}
	cfg.Client = smtpclient.New(client)
	if cfg.Telemetry == nil {
		cfg.Telemetry = telemetry.Discard()
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func lane(t *testing.T, r *Relay, hop tenant.NextHop) *Lane {
	l := r.Lane(hop)
	t.Cleanup(l.Close)
	return l
}

func fixed(addrs ...netip.AddrPort) tenant.NextHop {
	hop := tenant.NextHop{Key: "fixed"}
	for _, a := range addrs {
		hop.Hosts = append(hop.Hosts, tenant.HostPort{Host: a.Addr().String(), Port: a.Port()})
	}
	return hop
}

func mailbox(s string) smtp.Path {
	p, err := smtp.ParseMailbox(s)
	if err != nil {
		panic(err)
	}
	return p
}

const content = "Subject: hi\r\n\r\nhello\r\n"

func mail(rcpts ...string) *envelope.Envelope {
	env := &envelope.Envelope{Reverse: mailbox("alice@example.org"), Size: int64(len(content))}
	for _, r := range rcpts {
		env.Forward = append(env.Forward, envelope.Recipient{Path: mailbox(r)})
	}
	return env
}

func deliver(t *testing.T, l *Lane, env *envelope.Envelope) []envelope.Outcome {
	t.Helper()
	rcpts := make([]int, len(env.Forward))
	for i := range rcpts {
		rcpts[i] = i
	}
	got := l.Deliver(t.Context(), env, rcpts, strings.NewReader(content), int64(len(content)))
	if len(got) != len(rcpts) {
		t.Fatalf("%d outcomes for %d recipients", len(got), len(rcpts))
	}
	for i, o := range got {
		if o.Recipient != i || o.Attempt.Time.IsZero() || o.Attempt.NextHop != l.hop.Key {
			t.Errorf("outcome %d is not filled in: %+v", i, o)
		}
	}
	return got
}

// said puts outcomes in the words "verdict cause code[ down]".
func words(os []envelope.Outcome) string {
	var all []string
	for _, o := range os {
		s := o.Verdict.String() + " " + o.Attempt.Cause.String()
		if o.Attempt.Reply.Code != 0 {
			s += " " + o.Attempt.Reply.String()
		}
		if o.SiteDown {
			s += " (down)"
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

// counting refuses every connection and counts them.
type counting struct{ n int }

func (c *counting) DialContext(context.Context, string, string) (net.Conn, error) {
	c.n++
	return nil, syscall.ECONNREFUSED
}
