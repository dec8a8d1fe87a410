package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a name server on loopback, UDP and TCP on one port.
type server struct {
	addr     netip.AddrPort
	udp, tcp atomic.Int64 // questions seen
}

// answerer gets the question and whether it came over TCP. It writes what it
// likes; nothing at all is silence.
type answerer func(w dns.ResponseWriter, q *dns.Msg, overTCP bool)

// listenBoth finds a port that is free for UDP and for TCP.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener, netip.AddrPort) {
	t.Helper()
	var last error
	for range 20 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := pc.LocalAddr().(*net.UDPAddr).AddrPort()
		l, err := net.Listen("tcp", addr.String())
		if err == nil {
			return pc, l, addr
		}
		last = err
		_ = pc.Close()
	}
	t.Fatalf("no port is free for UDP and TCP: %v", last)
	return nil, nil, netip.AddrPort{}
}

func serve(t *testing.T, f answerer) *server {
	t.Helper()
	pc, l, addr := listenBoth(t)
	s := &server{addr: addr}
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_, overTCP := w.RemoteAddr().(*net.TCPAddr)
		if overTCP {
			s.tcp.Add(1)
		} else {
			s.udp.Add(1)
		}
		f(w, q, overTCP)
	})
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		up := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(up) }
		down := make(chan struct{})
		go func() { defer close(down); _ = srv.ActivateAndServe() }()
		<-up
		t.Cleanup(func() { _ = srv.Shutdown(); <-down })
	}
	return s
}

// reply makes an answer to q with records in master text.
func reply(t *testing.T, q *dns.Msg, rcode int, text ...string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetRcode(q, rcode)
	m.RecursionAvailable = true
	for _, s := range text {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Error(err)
			continue
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

func say(w dns.ResponseWriter, m *dns.Msg) { _ = w.WriteMsg(m) }

func client(t *testing.T, cfg ClientConfig) *Client {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second
	}
	c := NewClient(cfg)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

const soa = "example.org. 60 IN SOA ns. h. 1 2 3 4 30"

// TestWhatAnUpstreamSaysBecomesOneOfThreeThings is the table of doc.go.
func TestWhatAnUpstreamSaysBecomesOneOfThreeThings(t *testing.T) {
	mx := "example.org. 300 IN MX 10 mx.example.org."
	cases := map[string]struct {
		answer  answerer
		kind    Kind // 0: the record above
		wantTCP bool
		is      error
	}{
		"a plain answer": {answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) { say(w, reply(t, q, 0, mx)) }},
		"a truncated answer is asked for again over TCP": {wantTCP: true, answer: func(w dns.ResponseWriter, q *dns.Msg, overTCP bool) {
			m := reply(t, q, 0, mx)
			if !overTCP {
				m.Answer, m.Truncated = nil, true
			}
			say(w, m)
		}},
		"a wrong ID is dropped and the right one taken": {answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
			m := reply(t, q, dns.RcodeNameError)
			m.Id++
			say(w, m)
			say(w, reply(t, q, 0, mx))
		}},
		"a wrong question is dropped and the right one taken": {answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
			m := reply(t, q, dns.RcodeNameError)
			m.Question[0].Name = "other.example."
			say(w, m)
			m = reply(t, q, dns.RcodeNameError)
			m.Question[0].Qtype = dns.TypeTXT
			say(w, m)
			m = reply(t, q, dns.RcodeNameError)
			m.Question = nil
			say(w, m)
			say(w, reply(t, q, 0, mx))
		}},
		"octets that are no DNS are dropped": {answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
			_, _ = w.Write([]byte("hello"))
			_, _ = w.Write(nil)
			say(w, reply(t, q, 0, mx))
		}},
		"the wrong case is asked for again over TCP": {wantTCP: true, answer: func(w dns.ResponseWriter, q *dns.Msg, overTCP bool) {
			m := reply(t, q, 0, mx)
			if !overTCP {
				m = reply(t, q, dns.RcodeNameError)
			}
			m.Question[0].Name = swapCase(m.Question[0].Name)
			say(w, m)
		}},
		"a flood of wrong IDs is left for TCP": {wantTCP: true, answer: func(w dns.ResponseWriter, q *dns.Msg, overTCP bool) {
			m := reply(t, q, 0, mx)
			for i := 0; !overTCP && i < 20; i++ {
				f := reply(t, q, dns.RcodeNameError)
				f.Id += uint16(i + 1)
				say(w, f)
			}
			say(w, m)
		}},
		"FORMERR to EDNS is asked again without": {answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
			if q.IsEdns0() != nil {
				say(w, reply(t, q, dns.RcodeFormatError))
				return
			}
			say(w, reply(t, q, 0, mx))
		}},
		"a CNAME is followed inside the answer": {answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
			say(w, reply(t, q, 0, "example.org. 300 IN CNAME a.example.", "a.example. 300 IN CNAME B.example.", "b.example. 300 IN MX 10 mx.example.org."))
		}},
		"records of another owner are no answer": {kind: NoSuchType, answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
			say(w, reply(t, q, 0, "evil.example. 300 IN MX 10 mx.evil.example.", soa))
		}},
		"NXDOMAIN": {kind: NoSuchName, answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) { say(w, reply(t, q, dns.RcodeNameError, soa)) }},
		"NXDOMAIN behind a CNAME is the chain's": {kind: NoSuchName, answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
			say(w, reply(t, q, dns.RcodeNameError, "example.org. 300 IN CNAME gone.example.", soa))
		}},
		"no data":            {kind: NoSuchType, answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) { say(w, reply(t, q, 0, soa)) }},
		"no data and no SOA": {kind: NoSuchType, answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) { say(w, reply(t, q, 0)) }},
		"SERVFAIL":           {kind: CouldNotAsk, is: rcodeError(dns.RcodeServerFailure), answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) { say(w, reply(t, q, dns.RcodeServerFailure)) }},
		"REFUSED":            {kind: CouldNotAsk, is: rcodeError(dns.RcodeRefused), answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) { say(w, reply(t, q, dns.RcodeRefused)) }},
		"a referral is no answer": {kind: CouldNotAsk, is: ErrLame, answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
			m := reply(t, q, 0)
			m.RecursionAvailable = false
			say(w, m)
		}},
		"a circular CNAME chain": {kind: CouldNotAsk, is: errChain, answer: func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
			say(w, reply(t, q, 0, "example.org. 300 IN CNAME a.example.", "a.example. 300 IN CNAME example.org."))
		}},
		"a truncated answer and a dead TCP": {kind: CouldNotAsk, wantTCP: true, answer: func(w dns.ResponseWriter, q *dns.Msg, overTCP bool) {
			if overTCP {
				_ = w.Close()
				return
			}
			m := reply(t, q, 0)
			m.Truncated = true
			say(w, m)
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tc.answer)
			c := client(t, ClientConfig{Upstreams: []netip.AddrPort{s.addr}, Rounds: 1})
			got, err := c.MX(t.Context(), "Example.ORG.")
			if KindOf(err) != tc.kind {
				t.Fatalf("got %v, %v; want kind %q", got, err, tc.kind)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("error %v, want %v in it", err, tc.is)
			}
			if tc.kind == 0 && !slices.Equal(got.Records, []MX{{10, "mx.example.org"}}) {
				t.Errorf("records %v", got.Records)
			}
			if (s.tcp.Load() > 0) != tc.wantTCP {
				t.Errorf("%d questions over TCP, wanted some: %v", s.tcp.Load(), tc.wantTCP)
			}
		})
	}
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		if r >= 'A' && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, s)
}

func TestASilentUpstreamIsLeftForTheNextAndNotAskedFirstAgain(t *testing.T) {
	silent := serve(t, func(dns.ResponseWriter, *dns.Msg, bool) {})
	good := serve(t, func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
		say(w, reply(t, q, 0, q.Question[0].Name+" 300 IN MX 10 mx."))
	})
	c := client(t, ClientConfig{Upstreams: []netip.AddrPort{silent.addr, good.addr}, Timeout: 50 * time.Millisecond})
	for _, name := range []string{"one.example", "two.example"} {
		if _, err := c.MX(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if n := silent.udp.Load(); n != 1 {
		t.Errorf("the silent upstream was asked %d times, want once", n)
	}
}

func TestSilenceEverywhereIsCouldNotAskWithinTheBound(t *testing.T) {
	silent := serve(t, func(dns.ResponseWriter, *dns.Msg, bool) {})
	c := client(t, ClientConfig{Upstreams: []netip.AddrPort{silent.addr}, Timeout: 20 * time.Millisecond, Rounds: 3})
	_, err := c.Addrs(t.Context(), "example.org")
	if KindOf(err) != CouldNotAsk {
		t.Fatalf("got %v", err)
	}
	if n := silent.udp.Load(); n != 6 {
		t.Errorf("%d questions, want 3 rounds of A and AAAA", n)
	}
	// RFC 9520: the failure is remembered.
	if _, err = c.Addrs(t.Context(), "example.org"); KindOf(err) != CouldNotAsk || silent.udp.Load() != 6 {
		t.Errorf("the failure was not remembered: %v, %d questions", err, silent.udp.Load())
	}
}

func TestACallersDeadlineEndsItsWaitAndNotTheQuestion(t *testing.T) {
	gate := make(chan struct{})
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
		<-gate
		say(w, reply(t, q, 0, "example.org. 300 IN MX 10 mx."))
	})
	c := client(t, ClientConfig{Upstreams: []netip.AddrPort{s.addr}, Timeout: 5 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.MX(ctx, "example.org"); KindOf(err) != CouldNotAsk || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(gate)
	if _, err := c.MX(t.Context(), "example.org"); err != nil {
		t.Fatal(err)
	}
	if n := s.udp.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestManyCallersShareOneQuestion(t *testing.T) {
	gate := make(chan struct{})
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
		<-gate
		say(w, reply(t, q, 0, "example.org. 300 IN MX 10 mx."))
	})
	c := client(t, ClientConfig{Upstreams: []netip.AddrPort{s.addr}, Timeout: 5 * time.Second})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := c.MX(t.Context(), "example.org"); err != nil {
				t.Error(err)
			}
		})
	}
	for c.Stats().Questions < 50 {
		runtime.Gosched() // until all have asked
	}
	close(gate)
	wg.Wait()
	if n := s.udp.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	if st := c.Stats(); st.Outstanding != 0 {
		t.Errorf("%d questions still open", st.Outstanding)
	}
}

func TestOpenQuestionsAreBounded(t *testing.T) {
	s := serve(t, func(dns.ResponseWriter, *dns.Msg, bool) {})
	c := client(t, ClientConfig{Upstreams: []netip.AddrPort{s.addr}, Timeout: 5 * time.Second, MaxOutstanding: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = c.MX(ctx, "one.example")
	if _, err := c.MX(t.Context(), "two.example"); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	_ = c.Close() // must not wait for the 5 s
	if _, err := c.MX(t.Context(), "three.example"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// clock is a wall clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestTheCacheKeepsToTheTTLServesStaleAndRemembersLastGood(t *testing.T) {
	var mode atomic.Value
	mode.Store("good")
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
		switch mode.Load() {
		case "good":
			say(w, reply(t, q, 0, "example.org. 100 IN MX 10 mx."))
		case "gone":
			say(w, reply(t, q, dns.RcodeNameError, soa))
		default:
			say(w, reply(t, q, dns.RcodeServerFailure))
		}
	})
	clk := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	start := clk.now
	c := client(t, ClientConfig{Upstreams: []netip.AddrPort{s.addr}, Rounds: 1, Clock: clk.Now})
	ask := func() (MXAnswer, error) { return c.MX(t.Context(), "example.org") }

	a, err := ask()
	if err != nil || a.TTL != 100*time.Second {
		t.Fatalf("%v, %v", a, err)
	}
	clk.advance(99 * time.Second)
	if a, err = ask(); err != nil || a.TTL != time.Second || s.udp.Load() != 1 {
		t.Fatalf("%v, %v, asked %d", a, err, s.udp.Load())
	}
	clk.advance(2 * time.Second)
	mode.Store("fail")
	if a, err = ask(); err != nil || !a.Stale || a.TTL != 0 {
		t.Fatalf("want a stale answer, got %v, %v", a, err)
	}
	if a, err = ask(); err != nil || !a.Stale || s.udp.Load() != 2 {
		t.Fatalf("want the failure remembered: %v, %v, asked %d", a, err, s.udp.Load())
	}
	clk.advance(6 * time.Second)
	mode.Store("gone")
	var e *Error
	if _, err = ask(); !errors.As(err, &e) || e.Kind != NoSuchName || !e.LastGood.Equal(start) {
		t.Fatalf("want NoSuchName, last good at the start, got %v", err)
	}
	clk.advance(29 * time.Second) // below the SOA's minimum of 30
	if _, err = ask(); KindOf(err) != NoSuchName || s.udp.Load() != 3 {
		t.Fatalf("want the refusal remembered: %v, asked %d", err, s.udp.Load())
	}
	clk.advance(2 * time.Second)
	mode.Store("good")
	if a, err = ask(); err != nil || a.Stale {
		t.Fatalf("want a fresh answer, got %v, %v", a, err)
	}
	clk.advance(73 * time.Hour)
	mode.Store("fail")
	if a, err = ask(); KindOf(err) != CouldNotAsk {
		t.Fatalf("want CouldNotAsk after StaleFor, got %v, %v", a, err)
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
		say(w, reply(t, q, 0, q.Question[0].Name+" 100 IN MX 10 mx."))
	})
	c := client(t, ClientConfig{Upstreams: []netip.AddrPort{s.addr}, MaxEntries: 10})
	for i := range 40 {
		if _, err := c.MX(t.Context(), string(rune('a'+i%26))+string(rune('a'+i/26))+".example"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.cache.m); n > 10 {
		t.Errorf("%d entries, want at most 10", n)
	}
}

func TestAddressesOfBothFamiliesAreJoined(t *testing.T) {
	cases := map[string]struct {
		a, aaaa    string // record data, "nx", "none", "fail"
		want       string
		kind       Kind
		incomplete bool
	}{
		"both":                           {a: "192.0.2.1", aaaa: "2001:db8::1", want: "2001:db8::1 192.0.2.1"},
		"only A":                         {a: "192.0.2.1", aaaa: "none", want: "192.0.2.1"},
		"only AAAA":                      {a: "none", aaaa: "2001:db8::1", want: "2001:db8::1"},
		"A, AAAA could not be asked":     {a: "192.0.2.1", aaaa: "fail", want: "192.0.2.1", incomplete: true},
		"AAAA, A could not be asked":     {a: "fail", aaaa: "2001:db8::1", want: "2001:db8::1", incomplete: true},
		"no A, AAAA could not be asked":  {a: "none", aaaa: "fail", kind: CouldNotAsk},
		"no AAAA, A could not be asked":  {a: "fail", aaaa: "none", kind: CouldNotAsk},
		"neither":                        {a: "none", aaaa: "none", kind: NoSuchType},
		"no such name":                   {a: "nx", aaaa: "nx", kind: NoSuchName},
		"servers disagree on being":      {a: "nx", aaaa: "none", kind: NoSuchType},
		"no such name, and one failed":   {a: "nx", aaaa: "fail", kind: CouldNotAsk},
		"neither family could be asked ": {a: "fail", aaaa: "fail", kind: CouldNotAsk},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
				data, typ := tc.a, "A"
				if q.Question[0].Qtype == dns.TypeAAAA {
					data, typ = tc.aaaa, "AAAA"
				}
				switch data {
				case "nx":
					say(w, reply(t, q, dns.RcodeNameError, soa))
				case "none":
					say(w, reply(t, q, 0, soa))
				case "fail":
					say(w, reply(t, q, dns.RcodeServerFailure))
				default:
					say(w, reply(t, q, 0, "example.org. 9 IN "+typ+" "+data))
				}
			})
			c := client(t, ClientConfig{Upstreams: []netip.AddrPort{s.addr}, Rounds: 1})
			got, err := c.Addrs(t.Context(), "example.org")
			var words []string
			for _, a := range got.Addrs {
				words = append(words, a.String())
			}
			if KindOf(err) != tc.kind || strings.Join(words, " ") != tc.want || got.Incomplete != tc.incomplete {
				t.Errorf("got %v (incomplete %v), %v; want %q, kind %q", words, got.Incomplete, err, tc.want, tc.kind)
			}
		})
	}
}

func TestTheADBitCountsOnlyFromATrustedUpstream(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg, _ bool) {
		m := reply(t, q, 0, "example.org. 9 IN MX 0 .")
		m.AuthenticatedData = q.AuthenticatedData
		say(w, m)
	})
	for _, trust := range []bool{false, true} {
		c := client(t, ClientConfig{Upstreams: []netip.AddrPort{s.addr}, TrustAD: trust})
		a, err := c.MX(t.Context(), "example.org")
		if err != nil || a.Authentic != trust || !a.Null() {
			t.Errorf("trusted %v: got %+v, %v", trust, a, err)
		}
	}
}

func TestTextThatIsNoNameIsNeverAsked(t *testing.T) {
	c := client(t, ClientConfig{Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}})
	for _, name := range []string{"", ".", "a..b", ".a", strings.Repeat("a", 64) + ".org", strings.Repeat("a.", 130) + "a", "a b", "ä.example", "a\\.b", "[192.0.2.1] "} {
		if _, err := c.MX(t.Context(), name); KindOf(err) != NoSuchName || !errors.Is(err, ErrNotAName) {
			t.Errorf("%q: got %v", name, err)
		}
	}
	if n := c.Stats().Tries; n != 0 {
		t.Errorf("%d packets were sent", n)
	}
}

func TestEveryQuestionHasItsOwnIDAndCase(t *testing.T) {
	q := question{"abcdefghijklmnopqrstuvwxyz.example.org", dns.TypeMX}
	ids, names := map[uint16]bool{}, map[string]bool{}
	for range 200 {
		m := newQuery(q, true)
		ids[m.Id], names[m.Question[0].Name] = true, true
	}
	if len(ids) < 190 || len(names) < 199 {
		t.Errorf("200 questions had %d IDs and %d spellings", len(ids), len(names))
	}
}

func TestSystemUpstreamsFallBackToLoopback(t *testing.T) {
	if got := SystemUpstreams("/nonexistent"); len(got) != 1 || got[0].String() != "127.0.0.1:53" {
		t.Errorf("got %v", got)
	}
}
