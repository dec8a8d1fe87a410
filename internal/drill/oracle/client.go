package oracle

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// ReplyTimeout bounds the wait for one reply: chosen, far above any pause that
// a loaded machine makes, so that silence is a finding and not noise.
const ReplyTimeout = 60 * time.Second

// Style is a way to say a transaction.
type Style int

// The styles in which a Client sends. Lockstep waits after each command,
// Pipelined groups MAIL, RCPT and DATA, Chunked uses BDAT.
const (
	Lockstep Style = iota
	Pipelined
	Chunked
)

// Reply is a reply of the server, verbatim.
type Reply struct {
	Code int
	Text string // lines joined with "\n", codes included
}

// Positive reports whether the reply is 2xx or 3xx.
func (r Reply) Positive() bool { return r.Code >= 200 && r.Code < 400 }

// Client speaks SMTP over one connection. It is not safe for concurrent use.
type Client struct {
	Conn  net.Conn
	r     *bufio.Reader
	Greet Reply
	Ehlo  Reply
}

// Dial connects, reads the greeting and says EHLO. A greeting or EHLO that is
// refused is returned in the Client with no error.
func Dial(ctx context.Context, addr string) (*Client, error) {
	c, err := DialBare(ctx, addr)
	if err != nil {
		return nil, err
	}
	if c.Greet, err = c.ReadReply(); err != nil {
		c.Close()
		return nil, err
	}
	if c.Greet.Code != 220 {
		return c, nil
	}
	if c.Ehlo, err = c.Command("EHLO drill.test"); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// DialBare connects and reads nothing.
func DialBare(ctx context.Context, addr string) (*Client, error) {
	return DialBareFrom(ctx, addr, nil)
}

// DialBareFrom is DialBare from a local address, nil for any.
func DialBareFrom(ctx context.Context, addr string, from net.IP) (*Client, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if from != nil {
		d.LocalAddr = &net.TCPAddr{IP: from}
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Client{Conn: conn, r: bufio.NewReader(conn)}, nil
}

// Close drops the connection without QUIT.
func (c *Client) Close() { _ = c.Conn.Close() }

// Quit says QUIT and closes.
func (c *Client) Quit() {
	_, _ = c.Command("QUIT")
	c.Close()
}

// LocalPort is the port of this end.
func (c *Client) LocalPort() int { return c.Conn.LocalAddr().(*net.TCPAddr).Port }

// Write sends octets as they are.
func (c *Client) Write(b []byte) error {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(ReplyTimeout))
	_, err := c.Conn.Write(b)
	return err
}

// Command sends one line and reads its reply.
func (c *Client) Command(format string, args ...any) (Reply, error) {
	if err := c.Write([]byte(fmt.Sprintf(format, args...) + "\r\n")); err != nil {
		return Reply{}, err
	}
	return c.ReadReply()
}

// ReadReply reads one reply of up to 200 lines.
func (c *Client) ReadReply() (Reply, error) {
	return c.ReadReplyWithin(ReplyTimeout)
}

// ReadReplyWithin is ReadReply with its own deadline.
func (c *Client) ReadReplyWithin(d time.Duration) (Reply, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(d))
	var r Reply
	for range 200 {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return r, err
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 3 {
			return r, fmt.Errorf("reply line %q: too short", line)
		}
		code, err := strconv.Atoi(line[:3])
		if err != nil {
			return r, fmt.Errorf("reply line %q: no code", line)
		}
		if r.Text != "" {
			r.Text += "\n"
		}
		r.Code, r.Text = code, r.Text+line
		if len(line) == 3 || line[3] != '-' {
			return r, nil
		}
	}
	return r, fmt.Errorf("reply without end: %q", r.Text[:80])
}

// Send runs one transaction. The Reply is that which decided: the one to the
// end of data, or the first refusal before it. An error means that no such
// reply was read.
func (c *Client) Send(m *Message, style Style) (Reply, error) {
	mail := fmt.Sprintf("MAIL FROM:<%s> SIZE=%d", m.ReversePath, len(m.Content))
	if m.Body != "" {
		mail += " BODY=" + m.Body
	}
	lines := []string{mail}
	for _, to := range m.Recipients {
		lines = append(lines, "RCPT TO:<"+to+">")
	}
	switch style {
	case Pipelined:
		return c.sendPipelined(m, append(lines, "DATA"))
	case Chunked:
		return c.sendChunked(m, lines)
	}
	for _, l := range append(lines, "DATA") {
		if r, err := c.Command("%s", l); err != nil || !r.Positive() {
			return c.giveUp(r, err)
		}
	}
	return c.content(stuff(m.Content))
}

func (c *Client) giveUp(r Reply, err error) (Reply, error) {
	if err != nil {
		return r, err
	}
	if _, err := c.Command("RSET"); err != nil {
		c.Close()
	}
	return r, nil
}

func (c *Client) content(octets []byte) (Reply, error) {
	if err := c.Write(octets); err != nil {
		return Reply{}, err
	}
	return c.ReadReply()
}

func (c *Client) sendPipelined(m *Message, lines []string) (Reply, error) {
	if err := c.Write([]byte(strings.Join(lines, "\r\n") + "\r\n")); err != nil {
		return Reply{}, err
	}
	var refused Reply
	for i := range lines {
		r, err := c.ReadReply()
		if err != nil {
			return r, err
		}
		last := i == len(lines)-1
		if !r.Positive() && refused.Code == 0 {
			refused = r
		}
		if last && r.Code == 354 && refused.Code != 0 {
			// RFC 2920 section 3.1: some recipients were taken, so content must
			// follow; an empty one is refused or becomes a message without mark.
			c.Close()
			return refused, nil
		}
	}
	if refused.Code != 0 {
		return c.giveUp(refused, nil)
	}
	return c.content(stuff(m.Content))
}

func (c *Client) sendChunked(m *Message, lines []string) (Reply, error) {
	for _, l := range lines {
		if r, err := c.Command("%s", l); err != nil || !r.Positive() {
			return c.giveUp(r, err)
		}
	}
	half := len(m.Content) / 2
	first := fmt.Appendf(nil, "BDAT %d\r\n", half)
	if r, err := c.content(append(first, m.Content[:half]...)); err != nil || !r.Positive() {
		return c.giveUp(r, err)
	}
	last := fmt.Appendf(nil, "BDAT %d LAST\r\n", len(m.Content)-half)
	return c.content(append(last, m.Content[half:]...))
}
