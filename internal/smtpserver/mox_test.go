package smtpserver

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	moxdns "github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/sasl"
	moxclient "github.com/mjl-/mox/smtpclient"

	"github.com/postern-mail/postern/internal/smtp"
)

// moxDial opens mox's delivering client, which is another person's reading of
// the same RFCs.
func moxDial(t *testing.T, addr string, mode moxclient.TLSMode, opts moxclient.Opts) *moxclient.Client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	host := moxdns.Domain{ASCII: "127.0.0.1"}
	c, err := moxclient.New(t.Context(), slog.New(slog.DiscardHandler), conn, mode, false, moxdns.Domain{ASCII: "client.example.org"}, host, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestMoxsClientDeliversToSeveralRecipients(t *testing.T) {
	server, _ := testTLS(t)
	for _, mode := range []moxclient.TLSMode{moxclient.TLSSkip, moxclient.TLSOpportunistic, moxclient.TLSRequiredStartTLS} {
		t.Run(string(mode), func(t *testing.T) {
			s := start(t, Config{TLS: server}, nil)
			c := moxDial(t, s.addr, mode, moxclient.Opts{})
			if c.TLSConnectionState() == nil != (mode == moxclient.TLSSkip) {
				t.Errorf("TLS: %+v", c.TLSConnectionState())
			}
			if !c.Supports8BITMIME() || !c.SupportsSMTPUTF8() || c.SupportsRequireTLS() || !c.SupportsStartTLS() {
				t.Errorf("8BITMIME %t, SMTPUTF8 %t, REQUIRETLS %t, STARTTLS %t",
					c.Supports8BITMIME(), c.SupportsSMTPUTF8(), c.SupportsRequireTLS(), c.SupportsStartTLS())
			}
			content := sample + strings.Repeat(strings.Repeat("h\xc3\xa9", 100)+"\r\n.\r\n", 500)
			for range 3 {
				replies, err := c.DeliverMultiple(t.Context(), "jörg@sender.test",
					[]string{"bob@example.test", "nobody@example.test", "carol@example.test"}, int64(len(content)), strings.NewReader(content), true, true, false)
				if err != nil {
					t.Fatal(err)
				}
				if len(replies) != 3 || replies[0].Code != 250 || replies[1].Code != 550 || replies[1].Secode != "1.1" || replies[2].Code != 250 {
					t.Errorf("%+v", replies)
				}
			}
			if c.Botched() {
				t.Error("mox finds the dialogue broken")
			}
			got := s.rec.got()
			if len(got) != 3 {
				t.Fatalf("%d messages", len(got))
			}
			for _, m := range got {
				if m.content != content || m.from.Local != "jörg" || len(m.to) != 2 ||
					m.params != (smtp.MailParams{Size: int64(len(content)), Body: smtp.Body8BitMIME, SMTPUTF8: true}) {
					t.Errorf("arrived as %+v, %d octets of %d", m.params, len(m.content), len(content))
				}
			}
		})
	}
}

func TestARefusalReachesMoxAsWhatItIs(t *testing.T) {
	s := start(t, Config{MaxContentOctets: 100_000}, nil)
	c := moxDial(t, s.addr, moxclient.TLSSkip, moxclient.Opts{})
	big := strings.Repeat("x", 70) + "\r\n"
	for _, tc := range []struct {
		to        string
		size      int64
		permanent bool
		code      int
		secode    string
	}{
		{"nobody@example.test", 72, true, 550, "1.1"},
		{"bob@example.test", 200_000, true, 0, ""}, // mox sees SIZE and does not ask
	} {
		err := c.Deliver(t.Context(), "a@b.test", tc.to, tc.size, strings.NewReader(big), false, false, false)
		var e moxclient.Error
		if !errors.As(err, &e) || e.Permanent != tc.permanent || e.Code != tc.code || e.Secode != tc.secode {
			t.Errorf("%s, %d octets: %#v", tc.to, tc.size, err)
		}
	}
	if err := c.Deliver(t.Context(), "a@b.test", "bob@example.test", int64(len(big)), strings.NewReader(big), false, false, false); err != nil {
		t.Errorf("after the refusals: %v", err)
	}
}

func TestMoxsClientLogsInAndSubmits(t *testing.T) {
	server, _ := testTLS(t)
	s := start(t, Config{Submission: true, TLS: server}, nil)
	for _, password := range []string{"secret", "wrong"} {
		auth := func([]string, *tls.ConnectionState) (sasl.Client, error) {
			return sasl.NewClientPlain("alice", password), nil
		}
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := moxclient.New(t.Context(), slog.New(slog.DiscardHandler), conn, moxclient.TLSRequiredStartTLS, false,
			moxdns.Domain{ASCII: "client.example.org"}, moxdns.Domain{ASCII: "127.0.0.1"}, moxclient.Opts{Auth: auth})
		if password == "wrong" {
			var e moxclient.Error
			if !errors.As(err, &e) || e.Code != 535 || e.Secode != "7.8" {
				t.Errorf("%#v", err)
			}
			_ = conn.Close()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Deliver(t.Context(), "alice@example.test", "bob@example.test", int64(len(sample)), strings.NewReader(sample), false, false, false); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := s.rec.got(); len(got) != 1 || got[0].conn.User != "alice" || got[0].content != sample {
		t.Errorf("%+v", got)
	}
}
