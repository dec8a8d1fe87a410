package dsn

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/smtp"
)

var update = flag.Bool("update", false, "write the golden files anew")

const plain = "From: Alice <alice@example.test>\r\nTo: bob@example.org\r\nSubject: lunch\r\n\r\nAt noon?\r\n"

var (
	arrived = time.Date(2026, 11, 23, 15, 4, 5, 0, time.UTC)
	tried   = arrived.Add(3 * time.Second)
	noSuch  = smtp.Reply{
		Code: 550, Enhanced: smtp.EnhancedCode{Class: 5, Subject: 1, Detail: 1},
		Text: []string{"The email account that you tried to reach does not exist.", "See the help pages."},
	}
)

func report(rcpts ...Recipient) Report {
	return Report{
		Hostname: "mx.example.net", MessageID: "0123456789abcdefghjkmnpqrs", About: "0123456789ABCDEFGHJKMNPQRR",
		To: smtp.Path{Local: "alice", Domain: "example.test"}, Arrival: arrived, Now: tried.Add(time.Second),
		Recipients: rcpts, Original: strings.NewReader(plain), Size: int64(len(plain)),
	}
}

func failed(local, domain string) Recipient {
	return Recipient{
		Final: smtp.Path{Local: local, Domain: domain}, Action: Failed, Cause: cause.PeerRcpt5xx,
		Reply: noSuch, Remote: "mail.example.org", LastAttempt: tried,
	}
}

func withOriginal(r Report, content string) Report {
	r.Original, r.Size = strings.NewReader(content), int64(len(content))
	return r
}

// reports are the golden ones.
func reports() map[string]Report {
	out := map[string]Report{"failed": report(failed("bob", "example.org"))}

	r := report(failed("bob", "example.org"))
	r.Ret, r.EnvID = smtp.RetFull, "QQ314159"
	r.Recipients[0].Original = "rfc822;robert@example.org"
	out["failed-full"] = r

	late := Recipient{
		Final: smtp.Path{Local: "carol", Domain: "slow.test"}, Action: Failed, Cause: cause.Expired, Last: cause.ConnectTimeout,
	}
	relayed := Recipient{
		Final: smtp.Path{Local: "dan", Domain: "old.test"}, Action: Relayed, Remote: "mail.old.test", LastAttempt: tried,
		Reply: smtp.Reply{Code: 250, Text: []string{"ok"}},
	}
	out["mixed"] = report(failed("bob", "example.org"), late, relayed)

	waits := Recipient{
		Final: smtp.Path{Local: "bob", Domain: "example.org"}, Action: Delayed, Cause: cause.PeerRcpt4xx, Remote: "mail.example.org",
		Reply:       smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{Class: 4, Subject: 7, Detail: 1}, Text: []string{"Greylisted"}},
		LastAttempt: tried, RetryUntil: arrived.AddDate(0, 0, 5),
	}
	out["delayed"] = report(waits)
	out["delivered"] = report(Recipient{Final: smtp.Path{Local: "bob", Domain: "example.org"}, Action: Delivered})

	wide := report(failed("δοκιμή", "παράδειγμα.test"))
	wide.UTF8 = true
	wide.To = smtp.Path{Local: "jürgen", Domain: "müller.test"}
	wide.Recipients[0].Original = "utf-8;δοκιμή@παράδειγμα.test"
	out["utf8"] = withOriginal(wide, "From: Jürgen <jürgen@müller.test>\r\nSubject: Grüße\r\n\r\nHallo\r\n")

	narrow := report(failed("δοκιμή", "example.org"))
	narrow.Recipients[0].Original = "utf-8;δοκιμή@example.org"
	out["utf8-for-ascii"] = withOriginal(narrow, "From: alice@example.test\r\nSubject: Grüße\r\n\r\nHallo\r\n")
	return out
}

func TestReportsAreWhatTheGoldenFilesSay(t *testing.T) {
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			m, err := Build(&r)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(file, m.Content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.Content, want) {
				t.Errorf("differs from %s; it is now:\n%s", file, m.Content)
			}
			wellFormed(t, m)
		})
	}
}

// tested is a report as net/mail and mime/multipart read it.
type tested struct {
	header mail.Header
	kinds  []string
	bodies []string
	status []textproto.MIMEHeader // of the message, then of each recipient
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// wellFormed checks what every report must be, with readers of others.
func wellFormed(t fataler, m Message) tested {
	t.Helper()
	for _, line := range bytes.SplitAfter(m.Content, []byte("\r\n")) {
		line = bytes.TrimSuffix(line, []byte("\r\n"))
		if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("line of %d octets: %.80q", len(line), line)
		}
	}
	if !m.EightBit && !isASCII(m.Content) {
		t.Fatalf("8-bit octets in a 7-bit report")
	}
	if !bytes.HasSuffix(m.Content, []byte("\r\n")) {
		t.Fatalf("no CRLF at the end")
	}
	msg, err := mail.ReadMessage(bytes.NewReader(m.Content))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	out := tested{header: msg.Header}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("content type %q: %v", msg.Header.Get("Content-Type"), err)
	}
	for _, name := range []string{"From", "To", "Date", "Message-Id", "Subject", "Mime-Version"} {
		if len(msg.Header[name]) != 1 {
			t.Fatalf("%d fields %s", len(msg.Header[name]), name)
		}
	}
	if msg.Header.Get("Auto-Submitted") != "auto-replied" {
		t.Fatalf("Auto-Submitted is %q", msg.Header.Get("Auto-Submitted"))
	}
	if _, err := msg.Header.Date(); err != nil {
		t.Fatalf("date: %v", err)
	}
	if _, err := msg.Header.AddressList("To"); err != nil {
		t.Fatalf("to: %v", err)
	}
	if wide := !isASCII([]byte(msg.Header.Get("To"))); wide != m.UTF8 {
		t.Fatalf("UTF8 is %v, To is %q", m.UTF8, msg.Header.Get("To"))
	}
	out.readParts(t, multipart.NewReader(msg.Body, params["boundary"]))
	return out
}

func (o *tested) readParts(t fataler, parts *multipart.Reader) {
	t.Helper()
	for {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("part: %v", err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatalf("part: %v", err)
		}
		encoding := p.Header.Get("Content-Transfer-Encoding")
		if encoding == "7bit" && !isASCII(body) {
			t.Fatalf("8-bit octets in a 7bit part")
		}
		if encoding == "quoted-printable" {
			if body, err = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body))); err != nil {
				t.Fatalf("quoted-printable: %v", err)
			}
		}
		kind, params, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			t.Fatalf("content type: %v", err)
		}
		if params["charset"] == "utf-8" && !utf8.Valid(body) {
			t.Fatalf("not UTF-8")
		}
		o.kinds, o.bodies = append(o.kinds, kind), append(o.bodies, string(body))
	}
	if len(o.kinds) < 2 || o.kinds[0] != "text/plain" || !strings.HasSuffix(o.kinds[1], "delivery-status") {
		t.Fatalf("parts %v", o.kinds)
	}
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(o.bodies[1] + "\r\n")))
	for {
		h, err := r.ReadMIMEHeader()
		if len(h) > 0 {
			o.status = append(o.status, h)
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("status: %v", err)
		}
	}
}

func TestTheStatusPartHoldsTheFieldsOfItsStandards(t *testing.T) {
	r := reports()["failed-full"]
	m, err := Build(&r)
	if err != nil {
		t.Fatal(err)
	}
	got := wellFormed(t, m)
	if len(got.status) != 2 || got.kinds[2] != "message/rfc822" || got.bodies[2] != plain {
		t.Fatalf("%+v", got)
	}
	for name, want := range map[string]string{
		"Reporting-MTA": "dns; mx.example.net", "Original-Envelope-Id": "QQ314159", "Arrival-Date": "Mon, 23 Nov 2026 15:04:05 +0000",
	} {
		if v := got.status[0].Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	for name, want := range map[string]string{
		"Original-Recipient": "rfc822;robert@example.org", "Final-Recipient": "rfc822;bob@example.org", "Action": "failed",
		"Status": "5.1.1", "Remote-MTA": "dns; mail.example.org", "Last-Attempt-Date": "Mon, 23 Nov 2026 15:04:08 +0000",
		"Diagnostic-Code": "smtp; 550-5.1.1 The email account that you tried to reach does not exist. 550 5.1.1 See the help pages.",
	} {
		if v := got.status[1].Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
}

func TestAddressesThatAreNotASCIIAreTypedAsRFC6533Says(t *testing.T) {
	all := reports()
	for name, want := range map[string][3]string{
		"utf8":           {"message/global-delivery-status", "utf-8;δοκιμή@παράδειγμα.test", "message/global-headers"},
		"utf8-for-ascii": {"message/delivery-status", `utf-8;\x{3B4}\x{3BF}\x{3BA}\x{3B9}\x{3BC}\x{3AE}@example.org`, "text/rfc822-headers"},
	} {
		r := all[name]
		m, err := Build(&r)
		if err != nil {
			t.Fatal(err)
		}
		got := wellFormed(t, m)
		if got.kinds[1] != want[0] || got.status[1].Get("Final-Recipient") != want[1] || got.kinds[2] != want[2] {
			t.Errorf("%s: %v %q", name, got.kinds, got.status[1].Get("Final-Recipient"))
		}
		if !strings.Contains(got.bodies[2], "Subject: Grüße\r\n") {
			t.Errorf("%s: header %q", name, got.bodies[2])
		}
	}
}

func TestWhatIsReturnedIsBounded(t *testing.T) {
	head := "Subject: x\r\n" + strings.Repeat("X-Long: "+strings.Repeat("y", 1500)+"\r\n", 100)
	for name, c := range map[string]struct {
		content string
		ret     smtp.Ret
		max     int64
		kind    string
	}{
		"full, small":           {plain, smtp.RetFull, 0, "message/rfc822"},
		"full, not asked":       {plain, smtp.RetUnset, 0, "text/rfc822-headers"},
		"full, above the bound": {plain + strings.Repeat("x\r\n", 30_000), smtp.RetFull, 0, "text/rfc822-headers"},
		"full, own bound":       {plain, smtp.RetFull, 10, "text/rfc822-headers"},
		"full, lines too long":  {plain + strings.Repeat("x", 2000) + "\r\n", smtp.RetFull, 0, "text/rfc822-headers"},
		"full, 8-bit body":      {plain + "Gr\xfc\xdfe\r\n", smtp.RetFull, 0, "message/rfc822"},
		"header above bound":    {head + "\r\nbody\r\n", smtp.RetHdrs, 0, "text/rfc822-headers"},
		"header not UTF-8":      {"Subject: Gr\xfc\xdfe\r\n\r\n", smtp.RetHdrs, 0, "text/rfc822-headers"},
		"bare line ends, NUL":   {"Subject: a\nX: b\rc\x00d\r\n\r\n", smtp.RetFull, 0, "text/rfc822-headers"},
		"no header":             {"\r\nbody\r\n", smtp.RetHdrs, 0, "text/rfc822-headers"},
	} {
		r := withOriginal(report(failed("bob", "example.org")), c.content)
		r.Ret, r.FullMax = c.ret, c.max
		m, err := Build(&r)
		if err != nil {
			t.Fatal(err)
		}
		got := wellFormed(t, m)
		if got.kinds[2] != c.kind || len(m.Content) > HeaderMax*2 {
			t.Errorf("%s: %v, %d octets", name, got.kinds, len(m.Content))
		}
		if c.kind == "text/rfc822-headers" && strings.Contains(got.bodies[2], "noon") {
			t.Errorf("%s: the body is in it", name)
		}
	}
}

func TestAReportAboutASuccessReturnsNoBody(t *testing.T) {
	r := report(Recipient{Final: smtp.Path{Local: "b", Domain: "c.test"}, Action: Relayed})
	r.Ret = smtp.RetFull
	m, err := Build(&r)
	if err != nil {
		t.Fatal(err)
	}
	if got := wellFormed(t, m); got.kinds[2] != "text/rfc822-headers" {
		t.Errorf("parts %v", got.kinds)
	}
}

func TestNoReportWithoutRecipientsOrToANullReversePath(t *testing.T) {
	none := report()
	null := report(failed("bob", "example.org"))
	null.To = smtp.Path{}
	for _, r := range []Report{none, null} {
		if _, err := Build(&r); err == nil {
			t.Error("a report was made")
		}
	}
}

func TestEveryCauseHasAnExplanationAndACode(t *testing.T) {
	general := explain(cause.None).what
	for c := cause.DNSNoSuchName; c <= cause.OperatorAction; c++ {
		e := explain(c)
		if e.what == "" || e.do == "" || e.what == general {
			t.Errorf("%v: %+v", c, e)
		}
		s := Status(&Recipient{Action: Failed, Cause: c})
		if want := uint16(5); s.Class != want && (c != cause.Expired || s.String() != "4.4.7") {
			t.Errorf("%v: status %v", c, s)
		}
		if s := Status(&Recipient{Action: Delayed, Cause: c}); s.Class != 4 {
			t.Errorf("%v: status %v", c, s)
		}
	}
}

func TestManyRecipientsAreToldInTheStatusPartOnly(t *testing.T) {
	var rcpts []Recipient
	for range 1000 {
		rcpts = append(rcpts, failed("bob", "example.org"))
	}
	r := report(rcpts...)
	m, err := Build(&r)
	if err != nil {
		t.Fatal(err)
	}
	got := wellFormed(t, m)
	if n := strings.Count(got.bodies[0], "bob@example.org"); n != ToldMax || !strings.Contains(got.bodies[0], "950 more") {
		t.Errorf("%d told", n)
	}
	if len(got.status) != 1001 {
		t.Errorf("%d in the status part", len(got.status))
	}
}

// TestStrangersCantBreakAReport gives Build octets that no one would send.
func TestStrangersCantBreakAReport(t *testing.T) {
	octets := rapid.Custom(func(t *rapid.T) string {
		pieces := rapid.SliceOfN(rapid.SampledFrom([]string{
			"\r\n", "\n", "\r", "\x00", "--report-0123456789abcdefghjkmnpqrs", "--report-0123456789abcdefghjkmnpqrs--", "Bcc: x@y", ": ",
			"é", "\xff", "\u202e", "\u0085", " ", strings.Repeat("w", 997), strings.Repeat("é ", 600), strings.Repeat("é", 700), "a", "\t", ";", "=", "+", "\\",
		}), 0, 12).Draw(t, "pieces")
		return strings.Join(pieces, "")
	})
	rapid.Check(t, func(rt *rapid.T) {
		r := report(failed("bob", "example.org"))
		x := &r.Recipients[0]
		x.Action = rapid.SampledFrom([]Action{Failed, Delayed, Relayed}).Draw(rt, "action")
		x.Cause = cause.Cause(rapid.IntRange(0, int(cause.OperatorAction)).Draw(rt, "cause"))
		x.Reply.Text = []string{octets.Draw(rt, "reply"), octets.Draw(rt, "reply2")}
		x.Remote, x.Original = octets.Draw(rt, "remote"), "rfc822;"+octets.Draw(rt, "orcpt")
		x.Final.Local = "l" + octets.Draw(rt, "local")
		r.EnvID = octets.Draw(rt, "envid")
		r.UTF8 = rapid.Bool().Draw(rt, "utf8")
		r.Ret = smtp.Ret(rapid.IntRange(0, 2).Draw(rt, "ret"))
		r = withOriginal(r, octets.Draw(rt, "head")+"\r\n\r\n"+octets.Draw(rt, "body"))
		m, err := Build(&r)
		if err != nil {
			rt.Fatal(err)
		}
		got := wellFormed(rt, m)
		if len(got.kinds) > 3 || len(got.status) != 2 {
			rt.Fatalf("parts %v, %d groups", got.kinds, len(got.status))
		}
		for name := range got.status[1] {
			if name == "Bcc" {
				rt.Fatal("a field was brought in")
			}
		}
		for name := range got.header {
			if name == "Bcc" {
				rt.Fatal("a header field was brought in")
			}
		}
	})
}
