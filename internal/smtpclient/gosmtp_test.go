package smtpclient

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/postern-mail/postern/internal/smtp"
)

// backend is a go-smtp server that keeps what it got: an oracle for our words.
type backend struct {
	mu  sync.Mutex
	got []received
}

type received struct {
	from    string
	mail    gosmtp.MailOptions
	to      []string
	rcpt    []gosmtp.RcptOptions
	content string
}

type session struct {
	b   *backend
	cur received
}

func (b *backend) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return &session{b: b}, nil }

func (s *session) Mail(from string, o *gosmtp.MailOptions) error {
	s.cur = received{from: from, mail: *o}
	return nil
}

func (s *session) Rcpt(to string, o *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "no@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.cur.to, s.cur.rcpt = append(s.cur.to, to), append(s.cur.rcpt, *o)
	return nil
}

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.cur.content = string(b)
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.got = append(s.b.got, s.cur)
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// TestGoSMTPUnderstandsAllThatWeSay sends over plain text and TLS, with DATA
// and with BDAT, and compares what arrives.
func TestGoSMTPUnderstandsAllThatWeSay(t *testing.T) {
	cert, _ := certificate(t, "mx.test", time.Now().Add(time.Hour))
	for name, tc := range map[string]struct {
		secure bool
		mode   Chunking
	}{
		"DATA": {false, ChunkingWhenSafe}, "DATA over TLS": {true, ChunkingWhenSafe},
		"BDAT in lock step": {false, ChunkingWhenSafe}, "BDAT in lock step over TLS": {true, ChunkingWhenSafe},
	} {
		t.Run(name, func(t *testing.T) {
			b := &backend{}
			srv := gosmtp.NewServer(b)
			srv.Domain, srv.EnableSMTPUTF8, srv.EnableDSN = "mx.test", true, true
			if tc.secure {
				srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() { defer close(done); _ = srv.Serve(l) }()
			t.Cleanup(func() { _ = srv.Close(); <-done })

			target := Target{Host: "mx.test", Addr: l.Addr().(*net.TCPAddr).AddrPort(), NoPipelining: strings.HasPrefix(name, "BDAT")}
			c := dial(t, New(Config{Chunking: tc.mode}), target)
			if (c.TLS().Text != "") != tc.secure {
				t.Fatalf("TLS is %q", c.TLS().Text)
			}
			content := "Subject: hé\r\n\r\n.\r\n..two\r\n" + strings.Repeat(strings.Repeat("z", 70)+"\r\n.\r\n", 2000)
			m := message(content, "bøb@example.test", "no@example.test", `"a b"@example.test`)
			m.EightBit, m.UTF8 = true, true
			m.Params = smtp.MailParams{Ret: smtp.RetHdrs, EnvID: "QQ+314159"}
			m.Rcpts[2].Params = smtp.RcptParams{Notify: smtp.NotifyDelay | smtp.NotifyFailure, ORcpt: "rfc822;a=b@example.test"}
			for range 3 {
				res, err := c.Send(t.Context(), m)
				if err != nil || !res.End.Positive() || res.Rcpts[1].Code != 550 || res.Accepted() != 2 {
					t.Fatalf("%+v, %v", res, err)
				}
			}
			c.Quit()
			if len(b.got) != 3 {
				t.Fatalf("%d messages arrived", len(b.got))
			}
			for _, g := range b.got {
				if g.content != content {
					t.Errorf("content differs: %d octets, want %d", len(g.content), len(content))
				}
				if g.from != "alice@example.org" || !g.mail.UTF8 || g.mail.Body != gosmtp.Body8BitMIME || g.mail.EnvelopeID != "QQ+314159" ||
					g.mail.Return != gosmtp.DSNReturnHeaders || g.mail.Size != int64(len(content)) {
					t.Errorf("MAIL arrived as %q %+v", g.from, g.mail)
				}
				if len(g.to) != 2 || g.to[0] != "bøb@example.test" || g.rcpt[1].OriginalRecipient != "a=b@example.test" || len(g.rcpt[1].Notify) != 2 {
					t.Errorf("RCPT arrived as %q %+v", g.to, g.rcpt)
				}
			}
		})
	}
}
