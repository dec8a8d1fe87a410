package relay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/dns"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpclient"
)

// said makes the trouble of a reply in a phase from "550 5.1.1".
func said(p smtpclient.Phase, words string) trouble {
	var r smtp.Reply
	code, enhanced, _ := strings.Cut(words, " ")
	_, _ = fmt.Sscan(code, &r.Code)
	r.Enhanced, _, _ = smtp.CutEnhanced(enhanced)
	return fromReply(p, r)
}

// refused is said for a reply that came as an *smtpclient.Error.
func refused(p smtpclient.Phase, words string) trouble {
	t := said(p, words)
	t.kind = smtpclient.Refused
	return t
}

func broke(p smtpclient.Phase, k smtpclient.Kind) trouble { return trouble{phase: p, kind: k} }

func connectErr(errno syscall.Errno) trouble {
	return trouble{phase: smtpclient.Connect, kind: smtpclient.Unreachable, errno: errno}
}

// TestEveryTroubleHasItsDecision is the table of trouble.go, word for word:
// verdict, cause, "next" for another host, "down" for the whole site.
func TestEveryTroubleHasItsDecision(t *testing.T) {
	lost := func(p smtpclient.Phase, k smtpclient.Kind, timeout bool) trouble {
		return trouble{phase: p, kind: k, afterData: true, timeout: timeout}
	}
	cases := []struct {
		t    trouble
		want string
	}{
		// Names.
		{trouble{naming: noSuchName}, "fail dns-no-such-name"},
		{trouble{naming: noSuchName, doubtful: true}, "defer dns-no-such-name down"},
		{trouble{naming: noAddress}, "fail dns-no-address"},
		{trouble{naming: noAddress, doubtful: true}, "defer dns-no-address down"},
		{trouble{naming: badAnswer}, "fail dns-bad-answer"},
		{trouble{naming: badAnswer, doubtful: true}, "defer dns-bad-answer down"},
		{trouble{naming: nullMX}, "fail dns-null-mx"},
		{trouble{naming: couldNotAsk}, "defer dns-could-not-ask down"},
		{trouble{naming: couldNotAsk, doubtful: true}, "defer dns-could-not-ask down"},
		{trouble{naming: loops}, "defer route-loop down"},
		{trouble{naming: noRoute}, "defer no-route down"},

		// Connecting.
		{connectErr(syscall.ECONNREFUSED), "defer connect-refused next down"},
		{connectErr(syscall.ECONNRESET), "defer connect-reset next down"},
		{connectErr(syscall.ETIMEDOUT), "defer connect-timeout next down"},
		{connectErr(syscall.EHOSTUNREACH), "defer connect-unreachable next down"},
		{connectErr(syscall.ENETUNREACH), "defer connect-unreachable next down"},
		{connectErr(0), "defer connect-unreachable next down"},
		{connectErr(syscall.EMFILE), "defer local-limit"},
		{connectErr(syscall.EADDRNOTAVAIL), "defer local-limit"},
		{trouble{phase: smtpclient.Connect, kind: smtpclient.Unreachable, timeout: true}, "defer connect-timeout next down"},

		// The opening.
		{refused(smtpclient.Greeting, "421"), "defer peer-shutdown next down"},
		{refused(smtpclient.Greeting, "450"), "defer peer-greeting-4xx next down"},
		{refused(smtpclient.Greeting, "554 5.7.1"), "defer peer-greeting-5xx next down"},
		{refused(smtpclient.Greeting, "521"), "fail peer-greeting-5xx next"},
		{refused(smtpclient.Greeting, "250"), "defer peer-protocol next down"},
		{refused(smtpclient.Hello, "421"), "defer peer-shutdown next down"},
		{refused(smtpclient.Hello, "451"), "defer peer-hello next down"},
		{refused(smtpclient.Hello, "550"), "defer peer-hello next down"},
		{broke(smtpclient.StartTLS, smtpclient.TLSFailed), "defer tls-handshake next down"},
		{broke(smtpclient.StartTLS, smtpclient.TLSMissing), "defer tls-required next down"},
		{broke(smtpclient.StartTLS, smtpclient.TLSCertificate), "defer tls-certificate next down"},

		// The message's own.
		{said(smtpclient.Mail, "450"), "defer peer-mail-4xx"},
		{said(smtpclient.Mail, "550 5.7.1"), "fail peer-mail-5xx"},
		{said(smtpclient.Mail, "503"), "defer peer-protocol"},
		{said(smtpclient.Mail, "552"), "fail too-large-for-peer"},
		{said(smtpclient.Mail, "552 5.3.4"), "fail too-large-for-peer"},
		{said(smtpclient.Mail, "552 5.2.2"), "fail peer-mail-5xx"},
		{refused(smtpclient.Mail, "421"), "defer peer-shutdown next down"},
		{said(smtpclient.Rcpt, "450 4.2.0"), "defer peer-rcpt-4xx"},
		{said(smtpclient.Rcpt, "452 4.5.3"), "defer peer-rcpt-4xx"},
		{said(smtpclient.Rcpt, "550 5.1.1"), "fail peer-rcpt-5xx"},
		{said(smtpclient.Rcpt, "556 5.1.10"), "fail peer-rcpt-5xx"},
		{said(smtpclient.Rcpt, "552"), "defer peer-rcpt-4xx"},
		{said(smtpclient.Rcpt, "552 5.2.2"), "defer peer-rcpt-4xx"},
		{said(smtpclient.Rcpt, "552 5.2.3"), "fail too-large-for-peer"},
		{said(smtpclient.Rcpt, "503"), "defer peer-protocol"},
		{refused(smtpclient.Rcpt, "421"), "defer peer-shutdown next down"},
		{said(smtpclient.Data, "451"), "defer peer-data-4xx"},
		{said(smtpclient.Data, "554"), "fail peer-data-5xx"},
		{said(smtpclient.Data, "503"), "defer peer-protocol"},
		{refused(smtpclient.Data, "421"), "defer peer-shutdown next down"},
		{said(smtpclient.EndOfData, "250"), "delivered none"},
		{said(smtpclient.EndOfData, "451"), "defer peer-content-4xx"},
		{said(smtpclient.EndOfData, "421"), "defer peer-shutdown down"},
		{said(smtpclient.EndOfData, "554 5.6.0"), "fail peer-content-5xx"},
		{said(smtpclient.EndOfData, "552 5.3.4"), "fail too-large-for-peer"},
		{said(smtpclient.EndOfData, "503"), "defer peer-protocol"},
		{refused(smtpclient.Reset, "421"), "defer peer-shutdown next down"},

		// Breaking.
		{broke(smtpclient.Greeting, smtpclient.Timeout), "defer peer-timeout next down"},
		{broke(smtpclient.Mail, smtpclient.Timeout), "defer peer-timeout next down"},
		{broke(smtpclient.Content, smtpclient.Timeout), "defer peer-timeout next down"},
		{broke(smtpclient.Content, smtpclient.Slow), "defer peer-slow down"},
		{broke(smtpclient.Greeting, smtpclient.Closed), "defer peer-closed next down"},
		{broke(smtpclient.Mail, smtpclient.Closed), "defer peer-closed next down"},
		{broke(smtpclient.Rcpt, smtpclient.Closed), "defer peer-closed next"},
		{broke(smtpclient.Content, smtpclient.Closed), "defer peer-closed next"},
		{broke(smtpclient.Mail, smtpclient.Protocol), "defer peer-protocol next down"},
		{lost(smtpclient.EndOfData, smtpclient.Timeout, true), "defer lost-after-data down"},
		{lost(smtpclient.EndOfData, smtpclient.Closed, false), "defer lost-after-data"},
		{lost(smtpclient.EndOfData, smtpclient.Protocol, false), "defer lost-after-data"},
		{lost(smtpclient.EndOfData, smtpclient.Cancelled, false), "defer lost-after-data"},
		{lost(smtpclient.Rcpt, smtpclient.Closed, false), "defer lost-after-data"},

		// What the peer lacks, and what is ours.
		{broke(smtpclient.Mail, smtpclient.Need8BitMIME), "fail need-8bitmime next"},
		{broke(smtpclient.Mail, smtpclient.NeedSMTPUTF8), "fail need-smtputf8 next"},
		{broke(smtpclient.Mail, smtpclient.TooLarge), "fail too-large-for-peer next"},
		{broke(smtpclient.Content, smtpclient.Local), "defer local-io"},
		{trouble{phase: smtpclient.Content, kind: smtpclient.Local, short: true}, "defer local-damage"},
		{broke(smtpclient.Mail, smtpclient.Cancelled), "defer local-shutdown"},
		{trouble{}, "defer local-internal"},
		{broke(smtpclient.Mail, 99), "defer local-internal"},
	}
	for _, tc := range cases {
		if got := decide(tc.t).String(); got != tc.want {
			t.Errorf("%+v:\n got %s\nwant %s", tc.t, got, tc.want)
		}
	}
}

// String is the decision in the words of the table above.
func (d decision) String() string {
	s := d.verdict.String() + " " + d.cause.String()
	if d.nextHost {
		s += " next"
	}
	if d.siteDown {
		s += " down"
	}
	return s
}

// TestWhateverHappensTheRulesHold walks all combinations of the facts.
func TestWhateverHappensTheRulesHold(t *testing.T) {
	bools := []bool{false, true}
	for p := smtpclient.Phase(0); p <= smtpclient.Quit; p++ {
		for k := smtpclient.Kind(0); k <= smtpclient.Cancelled+1; k++ {
			for code := 0; code < 600; code++ {
				if code > 0 && code < 200 || k != 0 && k != smtpclient.Refused && code > 0 {
					continue
				}
				for _, after := range bools {
					for _, timeout := range bools {
						checkRules(t, trouble{phase: p, kind: k, code: code, afterData: after, timeout: timeout})
					}
				}
			}
		}
	}
}

func checkRules(t *testing.T, tr trouble) {
	d := decide(tr)
	reply := tr.kind == smtpclient.Refused || tr.kind == 0 && tr.code != 0
	lacks := tr.kind == smtpclient.Need8BitMIME || tr.kind == smtpclient.NeedSMTPUTF8 || tr.kind == smtpclient.TooLarge
	switch {
	case d.verdict == 0:
		t.Fatalf("%+v: no verdict", tr)
	case (d.verdict == envelope.AdviceDelivered) != (d.cause == cause.None):
		t.Fatalf("%+v: %v: delivered and cause do not agree", tr, d)
	case d.verdict == envelope.AdviceDelivered && (tr.phase != smtpclient.EndOfData || tr.code/100 != 2):
		t.Fatalf("%+v: delivered without a 2yz to end-of-data", tr)
	case d.verdict == envelope.AdviceFail && !lacks && (!reply || tr.code/100 != 5):
		t.Fatalf("%+v: fails without a 5yz", tr)
	case tr.code == 421 && reply && (d.verdict != envelope.AdviceDefer || !d.siteDown):
		t.Fatalf("%+v: %v: 421 is not a site's trouble", tr, d)
	case tr.code/100 == 4 && reply && d.verdict != envelope.AdviceDefer:
		t.Fatalf("%+v: %v: 4yz is not deferred", tr, d)
	case !reply && tr.kind != 0 && tr.afterData && d.nextHost:
		t.Fatalf("%+v: another host would get a second copy", tr)
	}
}

func TestErrorsBecomeTheRightTrouble(t *testing.T) {
	now := time.Date(2026, 1, 4, 0, 0, 0, 0, time.UTC)
	lately := &dns.Error{Kind: dns.NoSuchName, LastGood: now.Add(-time.Hour)}
	longAgo := &dns.Error{Kind: dns.NoSuchType, LastGood: now.Add(-100 * time.Hour)}
	for _, tc := range []struct {
		err     error
		certain bool
		want    trouble
	}{
		{lately, true, trouble{naming: noSuchName, doubtful: true}},
		{longAgo, true, trouble{naming: noAddress}},
		{longAgo, false, trouble{naming: noAddress, doubtful: true}},
		{io.EOF, true, trouble{naming: couldNotAsk}},
	} {
		if got := fromDNS(tc.err, tc.certain, now, 72*time.Hour); got != tc.want {
			t.Errorf("%v: got %+v, want %+v", tc.err, got, tc.want)
		}
	}
	refusal := smtp.Reply{Code: 554, Enhanced: smtp.EnhancedCode{Class: 5, Subject: 7, Detail: 1}}
	op := &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}
	for _, tc := range []struct {
		err  error
		want trouble
	}{
		{
			&smtpclient.Error{Phase: smtpclient.Greeting, Kind: smtpclient.Refused, Reply: refusal},
			trouble{phase: smtpclient.Greeting, kind: smtpclient.Refused, code: 554, enhanced: refusal.Enhanced},
		},
		{&smtpclient.Error{Phase: smtpclient.Connect, Kind: smtpclient.Unreachable, Err: op}, connectErr(syscall.ECONNREFUSED)},
		{
			&smtpclient.Error{Phase: smtpclient.Content, Kind: smtpclient.Local, Err: errors.Join(smtpclient.ErrShortContent, io.EOF)},
			trouble{phase: smtpclient.Content, kind: smtpclient.Local, short: true},
		},
		// Words that came with a broken connection decide nothing.
		{&smtpclient.Error{Phase: smtpclient.Content, Kind: smtpclient.Closed, Reply: refusal}, broke(smtpclient.Content, smtpclient.Closed)},
		{io.EOF, trouble{}},
	} {
		if got := fromError(tc.err); got != tc.want {
			t.Errorf("%v: got %+v, want %+v", tc.err, got, tc.want)
		}
	}
}
