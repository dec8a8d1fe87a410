package relay

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/dns"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpclient"
	"github.com/postern-mail/postern/internal/tenant"
)

// TestWhatAPeerDoesBecomesAnOutcome: one peer, two recipients.
func TestWhatAPeerDoesBecomesAnOutcome(t *testing.T) {
	const short = 40 * time.Millisecond
	rcpt := func(bob, carol string) func(int, int, string, string) string {
		return func(_, _ int, verb, line string) string {
			switch {
			case verb == "RCPT" && strings.Contains(line, "bob"):
				return bob
			case verb == "RCPT":
				return carol
			}
			return "ok"
		}
	}
	cases := map[string]struct {
		peer      *peer
		want      string
		took      int
		deadlines smtpclient.Deadlines // short where the peer stalls
	}{
		"all well": {&peer{}, "delivered none 250 2.0.0 taken; delivered none 250 2.0.0 taken", 1, smtpclient.Deadlines{}},
		"one recipient refused": {
			&peer{answer: rcpt("550 5.1.1 no bob", "ok")},
			"fail peer-rcpt-5xx 550 5.1.1 no bob; delivered none 250 2.0.0 taken", 1,
			smtpclient.Deadlines{},
		},
		"one put off, one refused": {
			&peer{answer: rcpt("450 4.2.0 later", "550 never")},
			"defer peer-rcpt-4xx 450 4.2.0 later; fail peer-rcpt-5xx 550 never", 0,
			smtpclient.Deadlines{},
		},
		"too many recipients, the old way": {
			&peer{answer: rcpt("ok", "552 too many")},
			"delivered none 250 2.0.0 taken; defer peer-rcpt-4xx 552 too many", 1,
			smtpclient.Deadlines{},
		},
		"MAIL refused": {
			&peer{answer: on("MAIL", "550 5.7.1 not you")},
			"fail peer-mail-5xx 550 5.7.1 not you; fail peer-mail-5xx 550 5.7.1 not you", 0,
			smtpclient.Deadlines{},
		},
		"DATA put off": {
			&peer{answer: on("DATA", "451 4.3.0 full")},
			"defer peer-data-4xx 451 4.3.0 full; defer peer-data-4xx 451 4.3.0 full", 0,
			smtpclient.Deadlines{},
		},
		"content refused for those that were accepted": {&peer{answer: func(_, _ int, verb, line string) string {
			if verb == "RCPT" && strings.Contains(line, "bob") {
				return "550 no"
			}
			return on("DOT", "554 5.6.0 spam")(0, 0, verb, line)
		}}, "fail peer-rcpt-5xx 550 no; fail peer-content-5xx 554 5.6.0 spam", 0, smtpclient.Deadlines{}},
		"421 in the greeting": {&peer{greeting: "421 busy"}, "defer peer-shutdown 421 busy (down); defer peer-shutdown 421 busy (down)", 0, smtpclient.Deadlines{}},
		"554 in the greeting": {&peer{greeting: "554 5.7.1 listed"}, "defer peer-greeting-5xx 554 5.7.1 listed (down); defer peer-greeting-5xx 554 5.7.1 listed (down)", 0, smtpclient.Deadlines{}},
		"521 in the greeting": {&peer{greeting: "521 no mail here"}, "fail peer-greeting-5xx 521 no mail here; fail peer-greeting-5xx 521 no mail here", 0, smtpclient.Deadlines{}},
		"EHLO and HELO refuse": {&peer{answer: func(_, _ int, v, _ string) string {
			return map[bool]string{true: "550 go away", false: "ok"}[v == "EHLO" || v == "HELO"]
		}}, "defer peer-hello 550 go away (down); defer peer-hello 550 go away (down)", 0, smtpclient.Deadlines{}},
		"421 at the second recipient": {
			&peer{answer: rcpt("550 5.1.1 no", "421 enough")},
			"fail peer-rcpt-5xx 550 5.1.1 no; defer peer-shutdown 421 enough (down)", 0,
			smtpclient.Deadlines{},
		},
		"421 after the content": {
			&peer{answer: on("DOT", "421 stopping")},
			"defer peer-shutdown 421 stopping (down); defer peer-shutdown 421 stopping (down)", 0,
			smtpclient.Deadlines{},
		},
		"no answer to MAIL":        {&peer{answer: on("MAIL", "stall")}, "defer peer-timeout (down); defer peer-timeout (down)", 0, smtpclient.Deadlines{Mail: short}},
		"no greeting":              {&peer{answer: on("", "stall")}, "defer peer-timeout (down); defer peer-timeout (down)", 0, smtpclient.Deadlines{Greeting: short}},
		"reset at DATA":            {&peer{answer: on("DATA", "reset")}, "defer peer-closed; defer peer-closed", 0, smtpclient.Deadlines{}},
		"closed after the content": {&peer{answer: on("DOT", "")}, "defer lost-after-data; defer lost-after-data", 0, smtpclient.Deadlines{}},
		"silent after the content": {&peer{answer: on("DOT", "stall")}, "defer lost-after-data (down); defer lost-after-data (down)", 0, smtpclient.Deadlines{End: short}},
		"garbage for MAIL":         {&peer{answer: on("MAIL", "what?")}, "defer peer-protocol (down); defer peer-protocol (down)", 0, smtpclient.Deadlines{}},
		"a 5yz out of turn counts for nobody": {
			&peer{answer: on("DATA", "550 5.1.1 no\r\n354 go")},
			"defer peer-protocol (down); defer peer-protocol (down)", 0,
			smtpclient.Deadlines{},
		},
		"one reply too many before DATA's": {
			&peer{answer: rcpt("550 no\r\n550 no", "ok")},
			"defer peer-protocol 250 2.0.0 ok (down); defer peer-protocol 250 2.0.0 ok (down)", 0,
			smtpclient.Deadlines{},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := tc.peer
			p.keywords = []string{"PIPELINING"}
			p.start(t, "127.0.0.1")
			l := lane(t, relay(t, Config{}, smtpclient.Config{Deadlines: tc.deadlines}), fixed(p.addr))
			got := deliver(t, l, mail("bob@example.test", "carol@example.test"))
			if w := words(got); w != tc.want {
				t.Errorf("\n got %s\nwant %s\n%+v", w, tc.want, got)
			}
			if n := len(p.taken()); n != tc.took {
				t.Errorf("the peer took %d messages, want %d", n, tc.took)
			}
			for _, o := range got {
				if o.Verdict != envelope.AdviceDelivered && o.Attempt.Reply.IsZero() && o.Attempt.Detail == "" {
					t.Error("neither the peer's words nor ours are kept")
				}
				if o.Attempt.Host != "127.0.0.1" || o.Attempt.Peer != p.addr {
					t.Errorf("host %q, peer %v", o.Attempt.Host, o.Attempt.Peer)
				}
			}
		})
	}
}

// site is the names of an MX test: hosts on addresses of 127.0.0.0/8 that lead
// to peers on free ports.
const siteText = `
$TTL 60
two       MX 10 first
          MX 20 second
first     A 127.0.1.1
second    A 127.0.1.2
implicit  A 127.0.1.1
null      MX 0 .
nullplus  MX 0 .
          MX 10 first
noaddr    MX 10 empty
          MX 20 missing
empty     TXT "x"
literal   MX 10 127.0.1.1.
selfbest  MX 10 ours
          MX 20 second
selfmid   MX 10 first
          MX 20 ours
          MX 30 second
selfaddr  MX 10 first
          MX 20 oursbyaddr
          MX 30 second
ours      A 127.0.1.9
oursbyaddr A 127.0.1.9
halfdark  MX 10 dark
          MX 20 second
alldark   MX 10 dark
alias     MX 10 cname
cname     CNAME first
nothing   TXT "x"
$SERVFAIL broken
$SERVFAIL dark
`

func site(t *testing.T) *dns.Zone {
	t.Helper()
	// Host names that are addresses need an origin of their own.
	z, err := dns.NewZone(siteText, "test", "127.0.1.1")
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// TestTheHostsOfADomainAreFoundAndTriedInOrder: which peers get the message.
func TestTheHostsOfADomainAreFoundAndTriedInOrder(t *testing.T) {
	down := "refuse"
	cases := map[string]struct {
		domain        string
		first, second string // greeting of each; "" takes mail, "refuse" is not there
		want          string
		took          string // "first", "second", ""
	}{
		"the best one":                             {domain: "two.test", want: "delivered none", took: "first"},
		"the next when the first is not there":     {domain: "two.test", first: down, want: "delivered none", took: "second"},
		"the next when the first says 554":         {domain: "two.test", first: "554 no", want: "delivered none", took: "second"},
		"the next when the first says 421":         {domain: "two.test", first: "421 no", want: "delivered none", took: "second"},
		"none of them":                             {domain: "two.test", first: "554 no", second: down, want: "defer connect-refused (down)"},
		"521 and then nobody":                      {domain: "two.test", first: "521 no", second: down, want: "defer connect-refused (down)"},
		"nobody and then 521":                      {domain: "two.test", first: down, second: "521 no", want: "defer connect-refused (down)"},
		"521 from all":                             {domain: "two.test", first: "521 no", second: "521 no", want: "fail peer-greeting-5xx"},
		"no MX: the domain's address":              {domain: "implicit.test", want: "delivered none", took: "first"},
		"an MX that is an alias":                   {domain: "alias.test", want: "delivered none", took: "first"},
		"null MX":                                  {domain: "null.test", want: "fail dns-null-mx"},
		"the root beside a real MX":                {domain: "nullplus.test", want: "delivered none", took: "first"},
		"no such domain":                           {domain: "nobody.test", want: "fail dns-no-such-name"},
		"neither MX nor address":                   {domain: "nothing.test", want: "fail dns-no-address"},
		"MX hosts without addresses":               {domain: "noaddr.test", want: "fail dns-no-address"},
		"an MX that is an address":                 {domain: "literal.test", want: "fail dns-bad-answer"},
		"a name server that fails":                 {domain: "broken.test", want: "defer dns-could-not-ask (down)"},
		"the MX's name can't be asked for":         {domain: "alldark.test", want: "defer dns-could-not-ask (down)"},
		"one MX can't be asked for":                {domain: "halfdark.test", want: "delivered none", took: "second"},
		"one can't be asked for, one is not there": {domain: "halfdark.test", second: down, want: "defer connect-refused (down)"},
		"one can't be asked for, one says 521":     {domain: "halfdark.test", second: "521 no", want: "defer dns-could-not-ask (down)"},
		"we are the best MX":                       {domain: "selfbest.test", want: "defer route-loop (down)"},
		"a better MX than us":                      {domain: "selfmid.test", want: "delivered none", took: "first"},
		"never a worse MX than us":                 {domain: "selfmid.test", first: down, want: "defer connect-refused (down)"},
		"we by address, a better one is there":     {domain: "selfaddr.test", want: "delivered none", took: "first"},
		"never a worse one than our address":       {domain: "selfaddr.test", first: down, want: "defer connect-refused (down)"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			peers := map[string]*peer{"first": {}, "second": {}}
			dialer := ports{}
			for i, n := range []string{"first", "second"} {
				at := netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)})
				switch greeting := []string{tc.first, tc.second}[i]; greeting {
				case down:
					dialer[at] = closedPort(t)
				default:
					peers[n].greeting = greeting
					dialer[at] = peers[n].start(t, "127.0.0.1").addr
				}
			}
			r := relay(t, Config{
				Resolver: site(t), OwnNames: []string{"Ours.test."},
				OwnListeners: []netip.AddrPort{netip.MustParseAddrPort("127.0.1.9:25")},
			}, smtpclient.Config{Dialer: dialer})
			got := deliver(t, lane(t, r, tenant.MX(tc.domain)), mail("bob@"+tc.domain))
			w := got[0].Verdict.String() + " " + got[0].Attempt.Cause.String()
			if got[0].SiteDown {
				w += " (down)"
			}
			if w != tc.want {
				t.Errorf("got %s, want %s: %+v", w, tc.want, got[0].Attempt)
			}
			for n, p := range peers {
				if (len(p.taken()) == 1) != (n == tc.took) {
					t.Errorf("%s took %d messages, want the message at %q", n, len(p.taken()), tc.took)
				}
			}
		})
	}
}

// closedPort returns an address on loopback where nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was accepted
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestFixedHostsAreNeverAReasonToBounce(t *testing.T) {
	for host, want := range map[string]string{
		"nobody.test": "defer dns-no-such-name", "nothing.test": "defer dns-no-address",
		"broken.test": "defer dns-could-not-ask", "ours.test": "defer route-loop",
	} {
		r := relay(t, Config{Resolver: site(t), OwnListeners: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:2525")}}, smtpclient.Config{})
		hop := tenant.NextHop{Key: "x", Hosts: []tenant.HostPort{{Host: host, Port: 2525}}}
		got := deliver(t, lane(t, r, hop), mail("bob@example.test"))
		if w := got[0].Verdict.String() + " " + got[0].Attempt.Cause.String(); w != want || !got[0].SiteDown {
			t.Errorf("%s: got %s, want %s", host, w, want)
		}
	}
	got := deliver(t, lane(t, relay(t, Config{}, smtpclient.Config{}), tenant.NextHop{}), mail("bob@example.test"))
	if got[0].Attempt.Cause != cause.NoRoute {
		t.Errorf("got %+v", got[0])
	}
}

func TestAnUnspecifiedListenerIsEveryAddressOfTheMachine(t *testing.T) {
	r := relay(t, Config{OwnListeners: []netip.AddrPort{
		netip.MustParseAddrPort("[::]:25"), netip.MustParseAddrPort("192.0.2.1:26"),
	}}, smtpclient.Config{})
	for addr, want := range map[string]bool{
		"127.0.0.1:25": true, "127.9.9.9:25": true, "[::1]:25": true, "0.0.0.0:25": true, "203.0.113.1:25": false,
		"192.0.2.1:26": true, "[::ffff:192.0.2.1]:26": true, "192.0.2.1:27": false, "127.0.0.1:26": false,
	} {
		if got := r.own(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

func TestAConnectionIsUsedAgainUpToItsLimits(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg      Config
		keywords []string
		want     int // connections for 6 messages
	}{
		"always":         {Config{}, []string{"PIPELINING"}, 1},
		"lock step":      {Config{}, nil, 1},
		"three messages": {Config{MaxMessages: 3}, []string{"PIPELINING"}, 2},
		"by MAILMAX":     {Config{}, []string{"PIPELINING", "LIMITS MAILMAX=2"}, 3},
		"no age":         {Config{MaxAge: 1}, []string{"PIPELINING"}, 6},
		"no idling":      {Config{MaxIdle: 1}, []string{"PIPELINING"}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			p := (&peer{keywords: tc.keywords}).start(t, "127.0.0.1")
			l := lane(t, relay(t, tc.cfg, smtpclient.Config{}), fixed(p.addr))
			for range 6 {
				if got := words(deliver(t, l, mail("bob@example.test"))); got != "delivered none 250 2.0.0 taken" {
					t.Fatal(got)
				}
			}
			if n := p.connections(); n != tc.want || len(p.taken()) != 6 {
				t.Errorf("%d connections for %d messages, want %d", n, len(p.taken()), tc.want)
			}
		})
	}
}

func TestAPeerThatHungUpBetweenMessagesGetsTheNextOneOnANewConnection(t *testing.T) {
	for name, answer := range map[string]func(conn, message int, verb, line string) string{
		"closes at the next MAIL": func(conn, message int, verb, _ string) string {
			if conn == 0 && message == 1 && verb == "MAIL" {
				return ""
			}
			return "ok"
		},
		"says 421 to the next MAIL": func(conn, message int, verb, _ string) string {
			if conn == 0 && message == 1 && verb == "MAIL" {
				return "421 too many messages"
			}
			return "ok"
		},
		"says 421 with the reply to the content": func(conn, message int, verb, _ string) string {
			if conn == 0 && verb == "DOT" {
				return "250 2.0.0 taken\r\n421 idle"
			}
			return "ok"
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := (&peer{keywords: []string{"PIPELINING"}, answer: answer}).start(t, "127.0.0.1")
			l := lane(t, relay(t, Config{}, smtpclient.Config{}), fixed(p.addr))
			for range 2 {
				if got := deliver(t, l, mail("bob@example.test")); got[0].Verdict != envelope.AdviceDelivered {
					t.Fatalf("%+v", got[0])
				}
			}
			if n := p.connections(); n != 2 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestALostReplyIsNeverTriedAtAnotherHostAndIsCounted(t *testing.T) {
	first := (&peer{answer: on("DOT", "")}).start(t, "127.0.0.1")
	second := (&peer{}).start(t, "127.0.0.1")
	r := relay(t, Config{}, smtpclient.Config{})
	got := deliver(t, lane(t, r, fixed(first.addr, second.addr)), mail("bob@example.test"))
	if words(got) != "defer lost-after-data" || second.connections() != 0 {
		t.Errorf("got %s; the second host had %d connections", words(got), second.connections())
	}
	var m dto.Metric
	if err := r.metrics.duplicates.Write(&m); err != nil || m.GetCounter().GetValue() != 1 {
		t.Errorf("%v possible duplicates counted, %v", m.GetCounter().GetValue(), err)
	}
}

func TestRecipientsAreSplitByRCPTMAX(t *testing.T) {
	p := (&peer{keywords: []string{"PIPELINING", "LIMITS RCPTMAX=2"}}).start(t, "127.0.0.1")
	got := deliver(t, lane(t, relay(t, Config{}, smtpclient.Config{}), fixed(p.addr)),
		mail("a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"))
	for _, o := range got {
		if o.Verdict != envelope.AdviceDelivered {
			t.Errorf("%+v", o)
		}
	}
	if len(p.taken()) != 3 || p.connections() != 1 {
		t.Errorf("%d transactions on %d connections", len(p.taken()), p.connections())
	}
}

func TestWhatOneHostLacksAnotherMayHave(t *testing.T) {
	poor := (&peer{keywords: []string{"SIZE 10"}}).start(t, "127.0.0.1")
	rich := (&peer{keywords: []string{"8BITMIME", "SMTPUTF8"}}).start(t, "127.0.0.1")
	r := relay(t, Config{}, smtpclient.Config{})
	if got := words(deliver(t, lane(t, r, fixed(poor.addr, rich.addr)), mail("b@x.test"))); got != "delivered none 250 2.0.0 taken" {
		t.Error(got)
	}
	if got := words(deliver(t, lane(t, r, fixed(poor.addr)), mail("b@x.test"))); got != "fail too-large-for-peer" {
		t.Error(got)
	}
	if got := words(deliver(t, lane(t, r, fixed(poor.addr, closedPort(t))), mail("b@x.test"))); got != "defer connect-refused (down)" {
		t.Error(got)
	}
	plain := (&peer{}).start(t, "127.0.0.1")
	eight := mail("b@x.test")
	eight.EightBit = true
	if got := words(deliver(t, lane(t, r, fixed(plain.addr)), eight)); got != "fail need-8bitmime" {
		t.Error(got)
	}
	// One recipient's address needs SMTPUTF8: the other is not held up.
	if got := words(deliver(t, lane(t, r, fixed(plain.addr)), mail("bø@x.test", "b@x.test"))); got != "fail need-smtputf8; delivered none 250 2.0.0 taken" {
		t.Error(got)
	}
}

func TestARelayedReportIsDueWhereThePeerHasNoDSN(t *testing.T) {
	for _, keywords := range [][]string{nil, {"DSN"}} {
		p := (&peer{keywords: keywords}).start(t, "127.0.0.1")
		env := mail("a@x.test", "b@x.test")
		env.Forward[0].Params.Notify = smtp.NotifySuccess | smtp.NotifyFailure
		got := deliver(t, lane(t, relay(t, Config{}, smtpclient.Config{}), fixed(p.addr)), env)
		if got[0].Relayed != (keywords == nil) || got[1].Relayed {
			t.Errorf("%v: %+v", keywords, got)
		}
	}
}

func TestAPeerThatLosesPipelinedCommandsIsSpokenToInLockStep(t *testing.T) {
	// It answers MAIL and swallows the rest when more came with it.
	p := (&peer{keywords: []string{"PIPELINING"}, answer: func(conn, _ int, verb, _ string) string {
		if conn == 0 && verb == "RCPT" {
			return "stall"
		}
		return "ok"
	}}).start(t, "127.0.0.1")
	l := lane(t, relay(t, Config{}, smtpclient.Config{Deadlines: smtpclient.Deadlines{Rcpt: 40 * time.Millisecond}}), fixed(p.addr))
	if got := words(deliver(t, l, mail("b@x.test"))); got != "defer peer-timeout (down)" {
		t.Fatal(got)
	}
	if got := words(deliver(t, l, mail("b@x.test"))); got != "delivered none 250 2.0.0 taken" {
		t.Fatal(got)
	}
	if !l.lockStep[p.addr] {
		t.Error("the peer is not remembered")
	}
}

func TestATriedHostCostsNoMoreThanItsDeadlineAndTheTotalEndsAll(t *testing.T) {
	stalls := (&peer{answer: on("", "stall")}).start(t, "127.0.0.1")
	r := relay(t, Config{Total: 50 * time.Millisecond}, smtpclient.Config{Deadlines: smtpclient.Deadlines{Greeting: time.Hour}})
	got := deliver(t, lane(t, r, fixed(stalls.addr, stalls.addr)), mail("b@x.test"))
	if words(got) != "defer peer-slow (down)" || stalls.connections() != 1 {
		t.Errorf("got %s after %d connections", words(got), stalls.connections())
	}
}

func TestACancelledDeliveryIsDeferredAsOurShutdown(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := (&peer{answer: func(_, _ int, verb, _ string) string {
		if verb == "MAIL" {
			cancel()
			return "stall"
		}
		return "ok"
	}}).start(t, "127.0.0.1")
	l := lane(t, relay(t, Config{}, smtpclient.Config{Deadlines: smtpclient.Deadlines{Mail: time.Hour}}), fixed(p.addr, p.addr))
	got := l.Deliver(ctx, mail("b@x.test"), []int{0}, strings.NewReader(content), int64(len(content)))
	if words(got) != "defer local-shutdown" || p.connections() != 1 {
		t.Errorf("got %s after %d connections", words(got), p.connections())
	}
}

func TestAddressesAlternateAndAreBounded(t *testing.T) {
	var addrs []netip.Addr
	for _, s := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"} {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	var got []string
	for _, a := range interleave(addrs) {
		got = append(got, a.String())
	}
	if s := strings.Join(got, " "); s != "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 192.0.2.3" {
		t.Error(s)
	}
	var text strings.Builder
	for i := range 30 {
		text.WriteString("many MX " + strconv.Itoa(i) + " h" + strconv.Itoa(i) + "\nh" + strconv.Itoa(i) + " A 127.0.1." + strconv.Itoa(i+1) + "\n")
	}
	z, err := dns.NewZone(text.String(), "test")
	if err != nil {
		t.Fatal(err)
	}
	tried := &counting{}
	r := relay(t, Config{Resolver: z}, smtpclient.Config{Dialer: tried})
	got2 := deliver(t, lane(t, r, tenant.MX("many.test")), mail("b@many.test"))
	if tried.n != 8 || got2[0].Attempt.Cause != cause.ConnectRefused {
		t.Errorf("%d addresses were tried: %+v", tried.n, got2[0])
	}
}

func TestAGiantReplyIsKeptInPart(t *testing.T) {
	line := strings.Repeat("x", 1000)
	p := (&peer{answer: on("RCPT", strings.Repeat("550-"+line+"\r\n", 50)+"550 end")}).start(t, "127.0.0.1")
	got := deliver(t, lane(t, relay(t, Config{}, smtpclient.Config{}), fixed(p.addr)), mail("b@x.test"))
	n := 0
	for _, s := range got[0].Attempt.Reply.Text {
		n += len(s)
	}
	if got[0].Attempt.Cause != cause.PeerRcpt5xx || n > maxReplyKept {
		t.Errorf("%v, %d octets kept", got[0].Attempt.Cause, n)
	}
}

func TestHaltEndsTheWaitForAGreetingAndLetsATransactionGoOn(t *testing.T) {
	silent := (&peer{greeting: "stall"}).start(t, "127.0.0.1")
	begun, goOn := make(chan struct{}), make(chan struct{})
	slow := (&peer{answer: func(_, _ int, verb, _ string) string {
		if verb == "DATA" {
			close(begun)
			<-goOn
		}
		return "ok"
	}}).start(t, "127.0.0.1")
	r := relay(t, Config{}, smtpclient.Config{})
	got := make(chan string, 2)
	for _, p := range []*peer{silent, slow} {
		l := lane(t, r, fixed(p.addr))
		go func() { got <- words(deliver(t, l, mail("b@x.test"))) }()
	}
	<-begun
	r.Halt()
	if s := <-got; s != "defer local-shutdown" {
		t.Error(s)
	}
	close(goOn)
	if s := <-got; s != "delivered none 250 2.0.0 taken" {
		t.Error(s)
	}
	if s := words(deliver(t, lane(t, r, fixed(slow.addr)), mail("b@x.test"))); s != "defer local-shutdown" {
		t.Error(s)
	}
}
