package smtpserver

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/postern-mail/postern/internal/smtp"
)

// asked is a Handler that knows alice's password and remembers what it was
// asked.
type asked struct {
	t      testing.TB
	calls  [][3]string // authzid, user, password
	proved int         // calls that alice's password answered
}

func (a *asked) Connect(_ context.Context, _ *Conn) (Session, smtp.Reply) {
	return askedSession{a}, smtp.Reply{}
}

type askedSession struct{ *asked }

func (askedSession) Hello(context.Context) smtp.Reply { return smtp.Reply{} }
func (askedSession) Reset()                           {}
func (askedSession) Close()                           {}

func (a askedSession) Auth(_ context.Context, _, authzid, user, password string) smtp.Reply {
	a.calls = append(a.calls, [3]string{authzid, user, password})
	if authzid == "" && user == "alice" && password == "secret" {
		a.proved++
		return smtp.Reply{}
	}
	return smtp.AuthFailed()
}

func (a askedSession) Mail(context.Context, smtp.Path, smtp.MailParams) smtp.Reply {
	if a.proved == 0 {
		a.t.Error("MAIL was taken from nobody")
	}
	return smtp.Reply{}
}

func (askedSession) Rcpt(context.Context, smtp.Path, smtp.RcptParams) smtp.Reply {
	return smtp.NoSuchUser()
}

func (askedSession) Content(context.Context) (Content, smtp.Reply) { return nil, smtp.LocalError() }

// authenticate runs a submission session over in, which believes in a TLS that
// is not there, and returns what was asked and how often 235 was said.
func authenticate(t testing.TB, in string) (h *asked, said int) {
	t.Helper()
	h = &asked{t: t}
	srv, err := New(Config{Hostname: "mx.example.test", Submission: true, MaxAuthFailures: -1}, h)
	if err != nil {
		t.Fatal(err)
	}
	c := new(feed)
	c.in.Reset([]byte("EHLO c\r\n" + in))
	runSession(srv, c, func(s *session) { s.conn.TLS = &tls.ConnectionState{HandshakeComplete: true} })
	if counted(t, srv.tally.panics) != 0 || srv.Open() != 0 {
		t.Fatalf("%q: a panic, or a session that does not end", in)
	}
	return h, strings.Count("\r\n"+c.said.String(), "\r\n235 ")
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// saslSeeds are what clients may say, and whether it proves that it is alice.
var saslSeeds = []struct {
	in    string
	proof bool
}{
	{"AUTH PLAIN " + base64Of("\x00alice\x00secret") + "\r\n", true},
	{"AUTH PLAIN\r\n" + base64Of("\x00alice\x00secret") + "\r\n", true},
	{"auth  plain  " + base64Of("\x00alice\x00secret") + " \r\n", true},
	{"AUTH LOGIN\r\n" + base64Of("alice") + "\r\n" + base64Of("secret") + "\r\n", true},
	{"AUTH LOGIN " + base64Of("alice") + "\r\n" + base64Of("secret") + "\r\n", true},
	{"AUTH LOGIN\r\n*\r\nAUTH PLAIN " + base64Of("\x00alice\x00secret") + "\r\n", true},
	{"AUTH\r\nAUTH PLAIN " + base64Of("\x00alice\x00secret") + "\r\nMAIL FROM:<alice@example.test>\r\n", true},
	{"AUTH PLAIN " + base64Of("\x00alice\x00secret") + "\r\nAUTH PLAIN " + base64Of("\x00alice\x00secret") + "\r\n", true},

	{"AUTH PLAIN " + base64Of("bob\x00alice\x00secret") + "\r\n", false},
	{"AUTH PLAIN " + base64Of("\x00alice\x00secret\x00") + "\r\n", false},
	{"AUTH PLAIN " + base64Of("\x00alice\x00wrong") + "\r\n", false},
	{"AUTH PLAIN " + base64Of("\x00alice\x00") + "\r\n", false},
	{"AUTH PLAIN " + base64Of("\x00\x00secret") + "\r\n", false},
	{"AUTH PLAIN " + base64Of("alice\x00secret") + "\r\n", false},
	{"AUTH PLAIN " + base64Of("\x00al\nice\x00secret") + "\r\n", false},
	{"AUTH PLAIN " + base64Of("\x00alice\xff\x00secret") + "\r\n", false},
	{"AUTH PLAIN " + strings.TrimRight(base64Of("\x00alice\x00secrets"), "=") + "\r\n", false},
	{"AUTH PLAIN " + base64Of("\x00alice\x00secret") + " x\r\n", false},
	{"AUTH PLAIN =\r\n", false},
	{"AUTH PLAIN\r\n\r\n", false},
	{"AUTH PLAIN\r\n*\r\n", false},
	{"AUTH PLAIN\r\n" + base64Of("\x00alice\x00secret") + "\n", false}, // a bare LF ends the session
	{"AUTH PLAIN\r\n" + base64Of("\x00alice\x00secret"), false},        // so does the connection's end
	{"AUTH PLAIN\r\n" + strings.Repeat("A", 3000) + "\r\n", false},
	{"AUTH LOGIN =\r\n" + base64Of("secret") + "\r\n", false},
	{"AUTH LOGIN " + base64Of("alice") + "\r\n\r\n", false},
	{"AUTH LOGIN " + base64Of("alice") + "\r\n*\r\n" + base64Of("secret") + "\r\n", false},
	{"AUTH LOGIN " + base64Of("secret") + "\r\n" + base64Of("alice") + "\r\n", false},
	{"AUTH SCRAM-SHA-256 " + base64Of("\x00alice\x00secret") + "\r\n", false},
	{"MAIL FROM:<alice@example.test>\r\nAUTH PLAIN\r\nMAIL FROM:<alice@example.test>\r\n", false},
}

func TestWhatProvesWhoAClientIs(t *testing.T) {
	for _, seed := range saslSeeds {
		if h, said := authenticate(t, seed.in); h.proved > 0 != seed.proof || said != h.proved || said > 1 {
			t.Errorf("%q: proved %d times, 235 said %d times, want %v", seed.in, h.proved, said, seed.proof)
		}
	}
}

// FuzzAuth says anything at all where a client authenticates. Nothing panics;
// the handler is asked only about what the client said, word for word, with
// identities that may stand in a log; 235 is said as often as the handler was
// content, at most once; MAIL is never taken before (askedSession.Mail).
func FuzzAuth(f *testing.F) {
	for _, seed := range saslSeeds {
		f.Add(seed.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if strings.Contains(strings.ToUpper(in), "STARTTLS") {
			return
		}
		h, said := authenticate(t, in)
		if said != h.proved || said > 1 {
			t.Errorf("%q: 235 said %d times, proved %d times", in, said, h.proved)
		}
		words := map[string]bool{"": true} // what the client said in base64
		for _, word := range strings.FieldsFunc(in, unicode.IsSpace) {
			if b, err := base64.StdEncoding.Strict().DecodeString(word); err == nil {
				words[string(b)] = true
			}
		}
		for _, c := range h.calls {
			plain := words[c[0]+"\x00"+c[1]+"\x00"+c[2]]
			login := c[0] == "" && words[c[1]] && words[c[2]]
			if !plain && !login || c[1] == "" || c[2] == "" || strings.Contains(c[2], "\x00") {
				t.Errorf("%q: asked about %q, which was not said", in, c)
			}
			if id := c[0] + c[1]; !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
				t.Errorf("%q: identity %q", in, id)
			}
		}
	})
}
