package e2e_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client speaks SMTP line by line, so that a test says exactly what is on the
// wire.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// replyDeadline is for one reply: far above what a loaded machine needs.
const replyDeadline = 30 * time.Second

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, replyDeadline)
	if err != nil {
		t.Fatalf("dial %s: %v", addr, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t: t, conn: conn, r: bufio.NewReader(conn)}
	c.expect("220")
	return c
}

// send writes text as it is.
func (c *client) send(text string) {
	c.t.Helper()
	if err := c.conn.SetWriteDeadline(time.Now().Add(replyDeadline)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write([]byte(text)); err != nil {
		c.t.Fatalf("write %q: %v", text, err)
	}
}

// reply reads one reply, its lines joined by "\n".
func (c *client) reply() (string, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(replyDeadline)); err != nil {
		return "", err
	}
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(lines, "\n"), err
		}
		line = strings.TrimRight(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] == ' ' {
			return strings.Join(lines, "\n"), nil
		}
	}
}

// expect reads one reply that must begin with want ("250", "550 5.1.1").
func (c *client) expect(want string) string {
	c.t.Helper()
	got, err := c.reply()
	if err != nil {
		c.t.Fatalf("want %q, got %q and %v", want, got, err)
	}
	if !strings.HasPrefix(got, want) {
		c.t.Fatalf("want %q, got %q", want, got)
	}
	return got
}

// say sends one command line and reads the reply that it must get.
func (c *client) say(line, want string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	got, err := c.reply()
	if err != nil || !strings.HasPrefix(got, want) {
		c.t.Fatalf("%s: want %q, got %q (%v)", line, want, got, err)
	}
	return got
}

// starttls turns the connection into TLS; the certificate is self-signed.
func (c *client) starttls() {
	c.t.Helper()
	c.say("STARTTLS", "220")
	conn := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the demo's own certificate
	if err := conn.SetDeadline(time.Now().Add(replyDeadline)); err != nil {
		c.t.Fatal(err)
	}
	if err := conn.Handshake(); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
}

// login does EHLO, STARTTLS, EHLO and AUTH PLAIN.
func (c *client) login(user, password string) {
	c.t.Helper()
	c.say("EHLO client.example.net", "250")
	c.starttls()
	c.say("EHLO client.example.net", "250")
	token := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	c.say("AUTH PLAIN "+token, "235")
}

// deliver sends one message and returns the ID of the 250.
func (c *client) deliver(from, content string, to ...string) string {
	c.t.Helper()
	c.say("MAIL FROM:<"+from+">", "250")
	for _, rcpt := range to {
		c.say("RCPT TO:<"+rcpt+">", "250")
	}
	c.say("DATA", "354")
	c.send(content + "\r\n.\r\n")
	return queuedID(c.t, c.expect("250 2."))
}

// queuedID reads the ID from the reply to end-of-data.
func queuedID(t *testing.T, reply string) string {
	t.Helper()
	_, id, ok := strings.Cut(reply, "queued as ")
	if !ok || len(id) < 26 {
		t.Fatalf("no ID in %q", reply)
	}
	return id[:26]
}

// message is a small content with a subject.
func message(subject string) string {
	return "From: Somebody <somebody@sender.test>\r\nTo: <alice@example.test>\r\nSubject: " + subject +
		"\r\nMessage-ID: <" + strconv.FormatInt(time.Now().UnixNano(), 36) + "@sender.test>\r\n\r\nHello.\r\n..stuffed"
}

// unique is a subject that no other message has.
func unique(t *testing.T, n int) string {
	return fmt.Sprintf("%s-%d", t.Name(), n)
}

// peerCertificate returns the certificate that the server showed.
func (c *client) peerCertificate() string {
	c.t.Helper()
	conn, ok := c.conn.(*tls.Conn)
	if !ok {
		c.t.Fatal("no TLS")
	}
	return string(conn.ConnectionState().PeerCertificates[0].Raw)
}
