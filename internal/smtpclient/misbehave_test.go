package smtpclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// patient are deadlines that only a test that hangs reaches, but for phase p,
// whose deadline is short.
func patient(p Phase, short time.Duration) Deadlines {
	d := quick()
	for at := Connect; at <= Quit; at++ {
		set(&d, at, 30*time.Second)
	}
	set(&d, p, short)
	return d
}

func set(d *Deadlines, p Phase, to time.Duration) {
	switch p {
	case Connect:
		d.Connect = to
	case Greeting:
		d.Greeting = to
	case Hello:
		d.Hello = to
	case StartTLS:
		d.Handshake = to
	case Mail:
		d.Mail = to
	case Rcpt:
		d.Rcpt = to
	case Data:
		d.Data = to
	case Content:
		d.Block = to
	case EndOfData:
		d.End = to
	case Reset:
		d.Reset = to
	case Quit:
		d.Quit = to
	}
}

// until plays a good peer until it is to answer in phase p, and then calls bad.
func until(p *peer, at Phase, pipelining bool, bad func(p *peer)) {
	good := []struct {
		at    Phase
		reply []string
	}{
		{Greeting, []string{"220 peer.test"}},
		{Hello, []string{"250-peer.test", "250-X", "250 8BITMIME"}},
		{Mail, []string{"250 ok"}},
		{Rcpt, []string{"250 ok"}},
		{Data, []string{"354 go"}},
		{EndOfData, []string{"250 taken"}},
	}
	for _, g := range good {
		switch g.at {
		case Greeting:
		case EndOfData:
			p.content()
		default:
			p.line()
		}
		if g.at == at {
			bad(p)
			return
		}
		if g.at == Hello && pipelining {
			g.reply = []string{"250-peer.test", "250 PIPELINING"}
		}
		p.say(g.reply...)
	}
}

// TestAPeerThatMisbehavesInAnyPhaseIsNamed walks behaviour x phase x
// pipelining. AfterData is true exactly after the dot.
func TestAPeerThatMisbehavesInAnyPhaseIsNamed(t *testing.T) {
	const short = 40 * time.Millisecond
	behaviours := map[string]struct {
		bad  func(p *peer)
		kind Kind
	}{
		"stalls": {(*peer).stall, Timeout},
		"drips": {func(p *peer) {
			// One octet at a time of a line that never ends; each arrives well
			// within the deadline.
			_, _ = io.WriteString(p.conn, "250")
			tick := time.NewTicker(short / 8)
			defer tick.Stop()
			for range tick.C {
				if _, err := io.WriteString(p.conn, "-"); err != nil {
					return
				}
			}
		}, Timeout},
		"drips lines": {func(p *peer) {
			tick := time.NewTicker(short / 8)
			defer tick.Stop()
			for range tick.C {
				if _, err := io.WriteString(p.conn, "250-more\r\n"); err != nil {
					return
				}
			}
		}, Timeout},
		"closes":               {func(*peer) {}, Closed},
		"closes within a line": {func(p *peer) { _, _ = io.WriteString(p.conn, "25") }, Closed},
		"closes within a reply": {func(p *peer) {
			p.say("250-one")
		}, Closed},
		"resets":                 {(*peer).reset, Closed},
		"speaks HTTP":            {func(p *peer) { p.say("HTTP/1.1 400 Bad Request"); p.stall() }, Protocol},
		"says 1yz":               {func(p *peer) { p.say("150 wait"); p.stall() }, Protocol},
		"says 999":               {func(p *peer) { p.say("999 what"); p.stall() }, Protocol},
		"says nothing in a line": {func(p *peer) { p.say(""); p.stall() }, Protocol},
		"says binary":            {func(p *peer) { p.say("\x16\x03\x01\x00\xff\x00\x00"); p.stall() }, Protocol},
		"sends a giant line":     {func(p *peer) { _, _ = io.WriteString(p.conn, "250 "+strings.Repeat("x", 1<<20)); p.stall() }, Protocol},
		"sends giant many lines": {func(p *peer) { _, _ = io.WriteString(p.conn, strings.Repeat("250-x\r\n", 1<<16)); p.stall() }, Protocol},
		"sends a bare CR":        {func(p *peer) { p.say("250 a\rb"); p.stall() }, Protocol},
	}
	for name, b := range behaviours {
		for _, at := range []Phase{Greeting, Hello, Mail, Rcpt, Data, EndOfData} {
			for _, pipelining := range []bool{true, false} {
				t.Run(name+" at "+at.String(), func(t *testing.T) {
					t.Parallel()
					s, _ := play(t, func(p *peer, _ int) { until(p, at, pipelining, b.bad) })
					d := patient(0, 0)
					if b.kind == Timeout {
						d = patient(at, short)
					}
					cl := New(Config{Deadlines: d})
					c, err := cl.Dial(t.Context(), Target{Addr: s.addr})
					if err == nil {
						defer c.Close()
						_, err = c.Send(t.Context(), message(hello, "bob@example.test"))
						if c.Reusable() {
							t.Error("the connection is reusable")
						}
					}
					var e *Error
					if name == "resets" && at == Greeting && errors.As(err, &e) && e.Phase == Connect {
						return // the reset came before connect returned
					}
					if !errors.As(err, &e) || e.Kind != b.kind || e.Phase != at {
						t.Fatalf("got %v, want %v at %v", err, b.kind, at)
					}
					if e.AfterData != (at == EndOfData) || e.Timeout != (b.kind == Timeout) {
						t.Errorf("AfterData is %v, Timeout is %v", e.AfterData, e.Timeout)
					}
				})
			}
		}
	}
}

func TestAReplyThatNobodyAskedForEndsTheConnection(t *testing.T) {
	cases := map[string]struct {
		script func(p *peer)
		kind   Kind // 0: no error, but not reusable
	}{
		"a reply too many before 354": {func(p *peer) {
			p.hello("PIPELINING")
			p.line()
			p.say("250 ok", "250 ok", "250 ok", "354 go")
			p.stall()
		}, Protocol},
		"a reply too many with 354": {func(p *peer) {
			p.hello("PIPELINING")
			p.line()
			p.say("250 ok", "250 ok", "354 go", "250 taken, whatever you send")
			p.stall()
		}, Protocol},
		"a reply too many with the last": {func(p *peer) {
			p.hello("PIPELINING")
			for range 3 {
				p.line()
			}
			p.say("250 ok", "250 ok", "354 go")
			p.content()
			p.say("250 taken", "250 taken")
			p.stall()
		}, 0},
		"354 to MAIL": {func(p *peer) { p.hello("PIPELINING"); p.line(); p.say("354 go", "250 ok", "250 ok"); p.stall() }, Protocol},
		"250 to DATA": {func(p *peer) { p.hello("PIPELINING"); p.line(); p.say("250 ok", "250 ok", "250 ok"); p.stall() }, Protocol},
		"354 to the dot": {func(p *peer) {
			p.hello("PIPELINING")
			for range 3 {
				p.line()
			}
			p.say("250 ok", "250 ok", "354 go")
			p.content()
			p.say("354 more")
			p.stall()
		}, Protocol},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s, _ := play(t, func(p *peer, _ int) { tc.script(p) })
			c := dial(t, New(Config{Deadlines: patient(0, 0)}), Target{Addr: s.addr})
			_, err := c.Send(t.Context(), message(hello, "bob@example.test"))
			var e *Error
			if tc.kind == 0 != (err == nil) || err != nil && (!errors.As(err, &e) || e.Kind != tc.kind) {
				t.Errorf("got %v", err)
			}
			for end := time.Now().Add(5 * time.Second); c.Reusable(); {
				if time.Now().After(end) {
					t.Fatal("reusable")
				}
			}
		})
	}
}

func TestAPeerThatGivesUpInTheMiddleOfContentIsQuotedAndDecidesNothing(t *testing.T) {
	s, _ := play(t, func(p *peer, _ int) {
		p.hello("PIPELINING")
		for range 3 {
			p.line()
		}
		p.say("250 ok", "250 ok", "354 go")
		_, _ = io.CopyN(io.Discard, p.r, 100<<10)
		p.say("552 5.3.4 too big")
		_ = p.conn.(*net.TCPConn).CloseWrite()
		_, _ = io.CopyN(io.Discard, p.r, 100<<10)
		p.reset()
	})
	c := dial(t, New(Config{Deadlines: patient(0, 0)}), Target{Addr: s.addr})
	big := strings.Repeat(strings.Repeat("x", 62)+"\r\n", 1<<18)
	_, err := c.Send(t.Context(), message(big, "bob@example.test"))
	var e *Error
	if !errors.As(err, &e) || e.Kind != Closed || e.Phase != Content || e.AfterData {
		t.Fatalf("got %v", err)
	}
}

func TestAPeerThatReadsTooSlowlyIsCutByTheLeastRate(t *testing.T) {
	s, _ := play(t, func(p *peer, _ int) {
		p.hello("PIPELINING")
		for range 3 {
			p.line()
		}
		p.say("250 ok", "250 ok", "354 go")
		// It reads a little now and then, so that no single write waits long.
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.CopyN(io.Discard, p.r, 4<<10); err != nil {
				return
			}
		}
	})
	c := dial(t, New(Config{
		Deadlines: patient(0, 0), MinRate: 100 << 20, MinRateAfter: time.Millisecond,
		Dialer: smallBuffers{},
	}), Target{Addr: s.addr})
	big := strings.Repeat(strings.Repeat("x", 62)+"\r\n", 1<<18)
	_, err := c.Send(t.Context(), message(big, "bob@example.test"))
	var e *Error
	if !errors.As(err, &e) || e.Kind != Slow || !e.Timeout || e.AfterData {
		t.Fatalf("got %v", err)
	}
}

func TestAPeerWithoutEHLOIsGreetedWithHELO(t *testing.T) {
	var note func(string)
	s, n := play(t, func(p *peer, _ int) {
		p.say("220 old")
		p.line()
		p.say("502 5.5.1 unknown command")
		note(p.line())
		p.say("250 old")
		p.take(note)
	})
	note = n
	c := dial(t, New(Config{Hostname: "me.test"}), Target{Addr: s.addr})
	if c.Extensions().ESMTP {
		t.Error("it is taken for ESMTP")
	}
	res, err := c.Send(t.Context(), message(hello, "bob@example.test"))
	if err != nil || !res.End.Positive() {
		t.Fatalf("%+v, %v", res, err)
	}
	if got := s.heard()[0]; got != "HELO me.test" {
		t.Errorf("heard %q", got)
	}
}

func TestTheOpeningCanBeRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		script func(p *peer)
		phase  Phase
		code   int
	}{
		"554 in the greeting": {func(p *peer) { p.say("554-no", "554 service"); p.stall() }, Greeting, 554},
		"421 in the greeting": {func(p *peer) { p.say("421 busy") }, Greeting, 421},
		"250 in the greeting": {func(p *peer) { p.say("250 hello?"); p.stall() }, Greeting, 250},
		"421 to EHLO":         {func(p *peer) { p.say("220 hi"); p.line(); p.say("421 busy") }, Hello, 421},
		"451 to EHLO":         {func(p *peer) { p.say("220 hi"); p.line(); p.say("451 later"); p.stall() }, Hello, 451},
		"550 to EHLO and HELO": {func(p *peer) {
			p.say("220 hi")
			p.line()
			p.say("550 a")
			p.line()
			p.say("551 b")
			p.stall()
		}, Hello, 551},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := play(t, func(p *peer, _ int) { tc.script(p) })
			_, err := New(Config{}).Dial(t.Context(), Target{Addr: s.addr})
			var e *Error
			if !errors.As(err, &e) || e.Kind != Refused || e.Phase != tc.phase || e.Reply.Code != tc.code {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNoConnectionIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	_ = l.Close()
	_, err = New(Config{}).Dial(t.Context(), Target{Addr: addr})
	var e *Error
	if !errors.As(err, &e) || e.Kind != Unreachable || e.Phase != Connect || e.Timeout {
		t.Errorf("got %v", err)
	}
	_, err = New(Config{Dialer: silence{}, Deadlines: quick()}).Dial(t.Context(), Target{Addr: addr})
	if !errors.As(err, &e) || e.Kind != Unreachable || !e.Timeout {
		t.Errorf("got %v", err)
	}
}

func TestTheSourceAddressIsUsed(t *testing.T) {
	from := make(chan string, 1)
	s, _ := play(t, func(p *peer, _ int) { from <- p.conn.RemoteAddr().String(); p.hello(); p.stall() })
	dial(t, New(Config{Source4: netip.MustParseAddr("127.0.0.77")}), Target{Addr: s.addr})
	if got := <-from; !strings.HasPrefix(got, "127.0.0.77:") {
		t.Errorf("came from %s", got)
	}
}

// TestTLS: what the peer does after STARTTLS, and what each policy makes of it.
func TestTLS(t *testing.T) {
	good, roots := certificate(t, "mx.test", time.Now().Add(time.Hour))
	expired, _ := certificate(t, "mx.test", time.Now().Add(-time.Hour))
	scripts := map[string]func(p *peer){
		"good":    func(p *peer) { p.hello("STARTTLS", "X"); p.secure(good) },
		"expired": func(p *peer) { p.hello("STARTTLS"); p.secure(expired) },
		"refused": func(p *peer) { p.hello("STARTTLS"); p.line(); p.say("454 not now"); p.take(func(string) {}) },
		"broken": func(p *peer) {
			p.hello("STARTTLS")
			p.line()
			p.say("220 go")
			_, _ = p.r.Peek(1)
			p.say("this is no TLS")
			p.stall()
		},
		"offers":  func(p *peer) { p.hello("STARTTLS"); p.take(func(string) {}) },
		"closes":  func(p *peer) { p.hello("STARTTLS"); p.line(); p.say("220 go") },
		"injects": func(p *peer) { p.hello("STARTTLS"); p.line(); p.say("220 go", "250 injected"); p.stall() },
		"none":    func(p *peer) { p.hello("X"); p.take(func(string) {}) },
	}
	no := errors.New("no")
	cases := []struct {
		peer   string
		policy TLSPolicy
		kind   Kind   // 0: mail goes through
		facts  string // prefix of TLSFacts.String
		conns  int
	}{
		{"good", TLSPolicy{}, 0, "TLS1.3 TLS_", 1},
		{"good", TLSPolicy{Mode: TLSRequired}, 0, "TLS1.3 TLS_", 1},
		{"offers", TLSPolicy{Mode: TLSNone}, 0, "", 1},
		{"good", TLSPolicy{Verify: func(string, *tls.ConnectionState) error { return no }}, TLSCertificate, "", 1},
		{"expired", TLSPolicy{}, 0, "TLS1.3 TLS_", 1},
		{"refused", TLSPolicy{}, 0, "plain (STARTTLS: 454 not now)", 1},
		{"refused", TLSPolicy{Mode: TLSRequired}, TLSMissing, "", 1},
		{"broken", TLSPolicy{}, 0, "plain (STARTTLS: tls: first record does not look", 2},
		{"broken", TLSPolicy{Mode: TLSRequired}, TLSFailed, "", 1},
		{"closes", TLSPolicy{}, 0, "plain (STARTTLS: EOF", 2},
		{"injects", TLSPolicy{}, 0, "plain (STARTTLS: plain text after", 2},
		{"injects", TLSPolicy{Mode: TLSRequired}, TLSFailed, "", 1},
		{"none", TLSPolicy{}, 0, "", 1},
		{"none", TLSPolicy{Mode: TLSRequired}, TLSMissing, "", 1},
	}
	for _, tc := range cases {
		t.Run(tc.peer, func(t *testing.T) {
			s, _ := play(t, func(p *peer, n int) {
				if n > 0 {
					p.hello("STARTTLS")
					p.take(func(string) {})
					return
				}
				scripts[tc.peer](p)
			})
			c, err := New(Config{Roots: roots, Deadlines: patient(0, 0)}).Dial(t.Context(), Target{Host: "mx.test", Addr: s.addr, TLS: tc.policy})
			if tc.kind != 0 {
				var e *Error
				if !errors.As(err, &e) || e.Kind != tc.kind || e.Phase != StartTLS {
					t.Fatalf("got %v, want %v", err, tc.kind)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := c.TLS().String(); !strings.HasPrefix(got, tc.facts) || tc.facts == "" && got != "" {
				t.Errorf("facts are %q, want %q", got, tc.facts)
			}
			for range 2 {
				if res, err := c.Send(t.Context(), message(hello, "bob@example.test")); err != nil || !res.End.Positive() {
					t.Fatalf("%+v, %v", res, err)
				}
				if !c.Reusable() {
					t.Error("not reusable")
				}
			}
			if s.connections() != tc.conns {
				t.Errorf("%d connections", s.connections())
			}
		})
	}
}

// secure turns TLS on, answers EHLO and takes mail.
func (p *peer) secure(cert tls.Certificate) {
	if p.startTLS(cert) {
		p.ehlo("PIPELINING")
		p.take(func(string) {})
	}
}

func TestFactsAboutACertificateAreRecorded(t *testing.T) {
	good, roots := certificate(t, "mx.test", time.Now().Add(time.Hour))
	expired, expiredRoots := certificate(t, "mx.test", time.Date(2020, 2, 3, 0, 0, 0, 0, time.UTC))
	for _, tc := range []struct {
		cert  tls.Certificate
		roots *x509.CertPool
		host  string
		want  string
	}{
		{good, roots, "mx.test", ""},
		{good, roots, "other.test", "other name"},
		{good, expiredRoots, "mx.test", "unknown authority"},
		{expired, expiredRoots, "mx.test", "expired 2020-02-03"},
	} {
		s, _ := play(t, func(p *peer, _ int) { p.hello("STARTTLS"); p.secure(tc.cert) })
		c := dial(t, New(Config{Roots: tc.roots}), Target{Host: tc.host, Addr: s.addr})
		if f := c.TLS(); f.Why != tc.want || f.Verified != (tc.want == "") {
			t.Errorf("%s: %+v, want %q", tc.host, f, tc.want)
		}
	}
}

func TestQuitDoesNotWaitForASilentPeer(t *testing.T) {
	s, _ := play(t, func(p *peer, _ int) { p.hello(); p.stall() })
	c := dial(t, New(Config{Deadlines: patient(Quit, 20*time.Millisecond)}), Target{Addr: s.addr})
	c.Quit() // the test's own deadline would say if it waited
	if c.Reusable() {
		t.Error("reusable after Quit")
	}
}
