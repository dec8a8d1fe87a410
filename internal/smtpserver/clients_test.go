package smtpserver

import (
	"errors"
	netsmtp "net/smtp"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/postern-mail/postern/internal/smtp"
)

const sample = "Subject: sample\r\n\r\n.dot\r\n..two\r\nlast\r\n"

func TestTheStandardLibrarysClientSubmitsMail(t *testing.T) {
	server, secure := testTLS(t)
	s := start(t, Config{Submission: true, TLS: server}, nil)
	c, err := netsmtp.Dial(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	steps := []func() error{
		func() error { return c.Hello("client.example.org") },
		func() error { return c.StartTLS(secure) },
		func() error { return c.Auth(netsmtp.PlainAuth("", "alice", "secret", "127.0.0.1")) },
		func() error { return c.Mail("alice@example.test") },
		func() error { return c.Rcpt("bob@example.test") },
		func() error {
			w, err := c.Data()
			if err != nil {
				return err
			}
			if _, err = w.Write([]byte(sample)); err != nil {
				return err
			}
			return w.Close()
		},
		c.Quit,
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	got := s.rec.got()
	if len(got) != 1 || got[0].content != sample || got[0].conn.User != "alice" || got[0].params.Body != smtp.Body8BitMIME {
		t.Errorf("%+v", got)
	}
}

func TestGoSMTPsClientIsUnderstood(t *testing.T) {
	server, secure := testTLS(t)
	s := start(t, Config{Submission: true, TLS: server}, nil)
	c, err := gosmtp.DialStartTLS(s.addr, secure)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, auth := range []sasl.Client{sasl.NewLoginClient("alice", "secret")} {
		if err := c.Auth(auth); err != nil {
			t.Fatal(err)
		}
	}
	if n, ok := c.MaxMessageSize(); !ok || n != 50<<20 {
		t.Errorf("size %d, %v", n, ok)
	}
	for range 3 {
		err := c.Mail("jörg@example.test", &gosmtp.MailOptions{
			UTF8: true, Body: gosmtp.Body8BitMIME, Return: gosmtp.DSNReturnHeaders, EnvelopeID: "a+b=c", Size: 1000,
		})
		if err != nil {
			t.Fatal(err)
		}
		err = c.Rcpt("bob@example.test", &gosmtp.RcptOptions{
			Notify:                []gosmtp.DSNNotify{gosmtp.DSNNotifyDelayed, gosmtp.DSNNotifyFailure},
			OriginalRecipientType: gosmtp.DSNAddressTypeUTF8, OriginalRecipient: "böb+x@example.test",
		})
		if err != nil {
			t.Fatal(err)
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(sample)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	got := s.rec.got()
	if len(got) != 3 {
		t.Fatalf("%d messages", len(got))
	}
	m := got[2]
	if m.content != sample || m.from.Local != "jörg" || m.params != (smtp.MailParams{Size: 1000, Body: smtp.Body8BitMIME, SMTPUTF8: true, Ret: smtp.RetHdrs, EnvID: "a+b=c"}) {
		t.Errorf("%+v", m)
	}
	if r := m.rcpts[0]; r.Notify != smtp.NotifyDelay|smtp.NotifyFailure || !strings.EqualFold(r.ORcpt, "utf-8;böb+x@example.test") {
		t.Errorf("%+v", r)
	}
}

func TestARefusalReachesGoSMTPWithItsEnhancedCode(t *testing.T) {
	s := start(t, Config{}, nil)
	c, err := gosmtp.Dial(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("a@b.test", nil); err != nil {
		t.Fatal(err)
	}
	err = c.Rcpt("nobody@example.test", nil)
	var e *gosmtp.SMTPError
	if !errors.As(err, &e) || e.Code != 550 || e.EnhancedCode != (gosmtp.EnhancedCode{5, 1, 1}) {
		t.Errorf("%#v", err)
	}
}
