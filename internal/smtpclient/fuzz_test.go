package smtpclient

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/smtp"
)

// canned is a connection whose peer says what it says, whatever it hears.
type canned struct {
	says  *bytes.Reader
	heard bytes.Buffer
}

func (c *canned) Read(p []byte) (int, error)     { return c.says.Read(p) }
func (c *canned) Write(p []byte) (int, error)    { return c.heard.Write(p) }
func (*canned) Close() error                     { return nil }
func (*canned) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*canned) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*canned) SetDeadline(time.Time) error      { return nil }
func (*canned) SetReadDeadline(time.Time) error  { return nil }
func (*canned) SetWriteDeadline(time.Time) error { return nil }

// DialContext makes a canned connection a Dialer of itself.
func (c *canned) DialContext(context.Context, string, string) (net.Conn, error) { return c, nil }

// FuzzADialogue lets a peer say anything. Whatever it is: no message is
// delivered without its end having been written, and AfterData is said whenever
// the end was written and no reply to it was read.
func FuzzADialogue(f *testing.F) {
	for _, s := range []string{
		"220 hi\r\n250-x\r\n250 PIPELINING\r\n250 a\r\n250 b\r\n354 c\r\n250 d\r\n",
		"220 hi\r\n250-x\r\n250 PIPELINING\r\n250 a\r\n550 b\r\n354 c\r\n250 d\r\n",
		"220 hi\r\n250-x\r\n250 CHUNKING\r\n250 a\r\n250 b\r\n250 d\r\n",
		"220 hi\r\n502 no\r\n250 x\r\n250 a\r\n250 b\r\n354 c\r\n554-5.6.0 d\r\n554 5.6.0 d\r\n",
		"220 hi\r\n250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n250 a\r\n250 b\r\n250 d\r\n421 x\r\n",
		"220 hi\r\n250-x\r\n250 SIZE 10 LIMITS RCPTMAX=1\r\n421 a\r\n",
		"554 no\r\n",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(2))
	}
	content := "Subject: x\r\n\r\n.dot\r\n"
	f.Fuzz(func(t *testing.T, says []byte, mode uint8) {
		conn := &canned{says: bytes.NewReader(says)}
		cl := New(Config{Dialer: conn, Chunking: Chunking(mode % 3)})
		c, err := cl.Dial(t.Context(), Target{Addr: netip.MustParseAddrPort("192.0.2.1:25"), TLS: TLSPolicy{Mode: TLSNone}})
		if err != nil {
			return
		}
		defer c.Close()
		res, err := c.Send(t.Context(), message(content, "bob@example.test"))
		heard := conn.heard.String()
		ended := strings.HasSuffix(heard, "\r\n\r\n..dot\r\n.\r\n") || strings.Contains(heard, "BDAT") && strings.HasSuffix(heard, content)
		var e *Error
		after := errors.As(err, &e) && e.AfterData
		switch {
		case res.End.Positive() && !ended:
			t.Fatalf("delivered, and the end was never written: %q", heard)
		case res.End.Positive() && res.Accepted() == 0:
			t.Fatal("delivered to nobody")
		case after != (ended && res.End.IsZero() && err != nil):
			t.Fatalf("AfterData is %v: %v, heard %q", after, err, heard)
		case err != nil && c.Reusable() && e.Kind != TooLarge:
			t.Fatalf("reusable after %v", err)
		}
	})
}

// FuzzExtensions reads any reply to EHLO.
func FuzzExtensions(f *testing.F) {
	f.Add("SIZE 10\nAUTH PLAIN LOGIN\nAUTH=CRAM-MD5\nLIMITS MAILMAX=1 RCPTMAX=0 X=Y\nXCLIENT NAME")
	f.Add("SIZE 99999999999999999999999\nSIZE -1\nLIMITS MAILMAX=-3 RCPTMAX")
	f.Fuzz(func(t *testing.T, lines string) {
		x := ParseExtensions(smtp.Reply{Code: 250, Text: strings.Split("peer\n"+lines, "\n")})
		if x.MaxSize < 0 || x.MailMax < 0 || x.RcptMax < 0 || len(x.Auth) > maxWords || len(x.XClient) > maxWords {
			t.Fatalf("%+v", x)
		}
	})
}
