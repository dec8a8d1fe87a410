package smtp

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestMailParametersAreParsedAndFormatted(t *testing.T) {
	tests := []struct {
		args string
		want MailParams
	}{
		{"FROM:<a@b.test>", MailParams{}},
		{"from: <a@b.test>  ", MailParams{}},
		{"FROM:<> SIZE=0", MailParams{}},
		{"FROM:<a@b.test> SIZE=12345 BODY=8BITMIME", MailParams{Size: 12345, Body: Body8BitMIME}},
		{"FROM:<a@b.test> size=1 body=7bit", MailParams{Size: 1}},
		{"FROM:<a@b.test> SIZE=99999999999999999999", MailParams{Size: math.MaxInt64}},
		{"FROM:<a@b.test> BODY=BINARYMIME", MailParams{Body: BodyBinaryMIME}},
		{"FROM:<ü@b.test> SMTPUTF8", MailParams{SMTPUTF8: true}},
		{"FROM:<a@b.test> RET=HDRS ENVID=QQ314159+2B", MailParams{Ret: RetHdrs, EnvID: "QQ314159+"}},
		{"FROM:<a@b.test> RET=FULL", MailParams{Ret: RetFull}},
		{"FROM:<a@b.test> AUTH=<>", MailParams{Auth: "<>"}},
		{"FROM:<a@b.test> AUTH=e+3Dmc2@example.com", MailParams{Auth: "e=mc2@example.com"}},
	}
	for _, tt := range tests {
		p, m, err := ParseMail(tt.args)
		if err != nil || m != tt.want {
			t.Errorf("%s: %+v, %v", tt.args, m, err)
			continue
		}
		wire := string(AppendMail(nil, p, m))
		args, ok := strings.CutPrefix(wire, "MAIL ")
		p2, m2, err := ParseMail(args)
		if !ok || err != nil || p2 != p || m2 != m {
			t.Errorf("%s: formatted as %s, parsed as %+v %+v, %v", tt.args, wire, p2, m2, err)
		}
	}
}

func TestRcptParametersAreParsedAndFormatted(t *testing.T) {
	tests := []struct {
		args string
		utf8 bool
		want RcptParams
	}{
		{"TO:<a@b.test>", false, RcptParams{}},
		{"TO:<a@b.test> NOTIFY=NEVER", false, RcptParams{Notify: NotifyNever}},
		{"TO:<a@b.test> notify=success,DELAY,failure", false, RcptParams{Notify: NotifySuccess | NotifyFailure | NotifyDelay}},
		{"TO:<a@b.test> ORCPT=rfc822;x+2By@z.test", false, RcptParams{ORcpt: "rfc822;x+y@z.test"}},
		{`TO:<a@b.test> ORCPT=utf-8;j\x{F6}rg@z.test`, false, RcptParams{ORcpt: "utf-8;jörg@z.test"}},
		{"TO:<a@b.test> ORCPT=utf-8;jörg@z.test", true, RcptParams{ORcpt: "utf-8;jörg@z.test"}},
		{`TO:<jörg@b.test> ORCPT=UTF-8;a\x{2B}\x{5C}@z.test`, true, RcptParams{ORcpt: `UTF-8;a+\@z.test`}},
	}
	for _, tt := range tests {
		p, r, err := ParseRcpt(tt.args, tt.utf8)
		if err != nil || r != tt.want {
			t.Errorf("%s: %+v, %v", tt.args, r, err)
			continue
		}
		for _, utf8 := range []bool{tt.utf8, true} {
			wire := string(AppendRcpt(nil, p, r, utf8))
			args, ok := strings.CutPrefix(wire, "RCPT ")
			p2, r2, err := ParseRcpt(args, utf8)
			if !ok || err != nil || p2 != p || r2 != r || !utf8 && !isASCII(wire) {
				t.Errorf("%s: formatted as %s, parsed as %+v %+v, %v", tt.args, wire, p2, r2, err)
			}
		}
	}
}

func TestMalformedParametersGetTheirReply(t *testing.T) {
	tests := []struct{ args, reply string }{
		{"<a@b.test>", "501 5.5.2"},
		{"FROM <a@b.test>", "501 5.5.2"},
		{"FROM:", "501 5.1.7"},
		{"FROM:<a>", "501 5.1.7"},
		{"FROM:<postmaster>", "501 5.1.7"},
		{"FROM:<a@b.test>SIZE=1", "501 5.1.7"},
		{"FROM:<ü@b.test>", "553 5.6.7"},
		{"FROM:<a@ü.test>", "553 5.6.7"},
		{"FROM:<a@b.test> SIZE", "501 5.5.4"},
		{"FROM:<a@b.test> SIZE=", "501 5.5.4"},
		{"FROM:<a@b.test> SIZE=-1", "501 5.5.4"},
		{"FROM:<a@b.test> SIZE=1 SIZE=1", "501 5.5.4"},
		{"FROM:<a@b.test> SIZE=123456789012345678901", "501 5.5.4"},
		{"FROM:<a@b.test> BODY=9BIT", "501 5.5.4"},
		{"FROM:<a@b.test> SMTPUTF8=YES", "501 5.5.4"},
		{"FROM:<a@b.test> RET=BOTH", "501 5.5.4"},
		{"FROM:<a@b.test> ENVID=+4", "501 5.5.4"},
		{"FROM:<a@b.test> ENVID=+0Ax", "501 5.5.4"},
		{"FROM:<a@b.test> ENVID=" + strings.Repeat("x", 101), "501 5.5.4"},
		{"FROM:<a@b.test> AUTH=a=b", "501 5.5.4"},
		{"FROM:<a@b.test> AUTH=+0D", "501 5.5.4"},
		{"FROM:<a@b.test> XYZZY", "555 5.5.4"},
		{"FROM:<a@b.test> NOTIFY=NEVER", "555 5.5.4"},
		{"FROM:<a@b.test> =1", "501 5.5.4"},
		{"FROM:<a@b.test> -A=1", "501 5.5.4"},
	}
	for _, tt := range tests {
		_, _, err := ParseMail(tt.args)
		checkReply(t, "MAIL "+tt.args, err, tt.reply)
	}
	for _, tt := range []struct{ args, reply string }{
		{"TO:<>", "501 5.1.3"},
		{"TO:<a@>", "501 5.1.3"},
		{"FROM:<a@b.test>", "501 5.5.2"},
		{"TO:<ü@b.test>", "553 5.6.7"},
		{"TO:<a@b.test> NOTIFY=", "501 5.5.4"},
		{"TO:<a@b.test> NOTIFY=NEVER,SUCCESS", "501 5.5.4"},
		{"TO:<a@b.test> NOTIFY=SUCCESS,SUCCESS", "501 5.5.4"},
		{"TO:<a@b.test> NOTIFY=SOMETIMES", "501 5.5.4"},
		{"TO:<a@b.test> ORCPT=rfc822", "501 5.5.4"},
		{"TO:<a@b.test> ORCPT=;x", "501 5.5.4"},
		{"TO:<a@b.test> ORCPT=rfc822;a+0Db", "501 5.5.4"},
		{"TO:<a@b.test> ORCPT=rfc822;+FF", "501 5.5.4"},
		{"TO:<a@b.test> ORCPT=utf-8;ü@b", "553 5.6.7"},
		{`TO:<a@b.test> ORCPT=utf-8;\x{D800}`, "501 5.5.4"},
		{`TO:<a@b.test> ORCPT=utf-8;\x{0A}`, "501 5.5.4"},
		{"TO:<a@b.test> SIZE=1", "555 5.5.4"},
	} {
		_, _, err := ParseRcpt(tt.args, false)
		checkReply(t, "RCPT "+tt.args, err, tt.reply)
	}
}

func checkReply(t *testing.T, what string, err error, want string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%s: error %v bears no reply", what, err)
	} else if got := e.SMTPReply().String(); !strings.HasPrefix(got, want) {
		t.Errorf("%s: %s (%v), want %s", what, got, err, want)
	}
}

func TestXtextDecodesToWhatWasEncoded(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	wire := string(AppendXtext(nil, string(all)))
	if !printableASCII(wire) || strings.Contains(wire, "=") {
		t.Errorf("xtext %q", wire)
	}
	if got, err := DecodeXtext(wire); err != nil || got != string(all) {
		t.Errorf("decoded %q, %v", got, err)
	}
}

func FuzzMailParams(f *testing.F) {
	for _, s := range []string{
		"FROM:<a@b.test> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x+2B AUTH=<>", "FROM:<>", "FROM:<ü@ü.test> SMTPUTF8 AUTH=ü",
		"TO:<a@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b", `TO:<a@b> ORCPT=utf-8;\x{FC}@b`, "TO:<postmaster>",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, utf8 bool) {
		if p, m, err := ParseMail(s); err == nil {
			wire := string(AppendMail(nil, p, m))
			p2, m2, err := ParseMail(strings.TrimPrefix(wire, "MAIL "))
			if err != nil || p2 != p || m2 != m {
				t.Fatalf("%q: %+v %+v formatted as %q, parsed as %+v %+v, %v", s, p, m, wire, p2, m2, err)
			}
			if hasControl(wire) || !m.SMTPUTF8 && !p.ASCII() {
				t.Fatalf("%q: wire %q", s, wire)
			}
		}
		if p, r, err := ParseRcpt(s, utf8); err == nil {
			wire := string(AppendRcpt(nil, p, r, utf8))
			p2, r2, err := ParseRcpt(strings.TrimPrefix(wire, "RCPT "), utf8)
			if err != nil || p2 != p || r2 != r {
				t.Fatalf("%q: %+v %+v formatted as %q, parsed as %+v %+v, %v", s, p, r, wire, p2, r2, err)
			}
			if hasControl(wire) || !utf8 && !isASCII(wire) {
				t.Fatalf("%q: wire %q", s, wire)
			}
		}
	})
}
