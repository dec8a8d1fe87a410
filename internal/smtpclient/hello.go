package smtpclient

import (
	"context"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/internal/smtp"
)

// Extensions is what a peer offered in its reply to EHLO. The zero value is a
// peer that speaks plain RFC 821.
type Extensions struct {
	ESMTP               bool // EHLO was accepted
	Pipelining          bool
	Size                bool
	MaxSize             int64 // octets; 0: no fixed limit, or Size is false
	EightBitMIME        bool
	BinaryMIME          bool
	SMTPUTF8            bool
	DSN                 bool
	Chunking            bool
	StartTLS            bool
	EnhancedStatusCodes bool
	RequireTLS          bool
	MailMax             int      // RFC 9422: messages per connection, 0: not said
	RcptMax             int      // RFC 9422: recipients per message, 0: not said
	Auth                []string // mechanisms, upper case
	XClient             []string // attribute names, upper case
}

// maxWords bounds the mechanisms and attributes that are kept; chosen.
const maxWords = 32

// ParseExtensions reads the reply to EHLO. Its first line is the peer's name;
// keywords that are not known are ignored (RFC 5321 section 4.1.1.1).
func ParseExtensions(hello smtp.Reply) Extensions {
	x := Extensions{ESMTP: true}
	if len(hello.Text) == 0 {
		return x
	}
	for _, line := range hello.Text[1:] {
		keyword, rest, _ := strings.Cut(line, " ")
		x.set(strings.ToUpper(keyword), rest)
	}
	return x
}

func (x *Extensions) set(keyword, rest string) {
	switch keyword {
	case "PIPELINING":
		x.Pipelining = true
	case "SIZE":
		x.Size = true
		x.MaxSize = 0
		if n, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 63); err == nil {
			x.MaxSize = int64(n)
		}
	case "8BITMIME":
		x.EightBitMIME = true
	case "BINARYMIME":
		x.BinaryMIME = true
	case "SMTPUTF8":
		x.SMTPUTF8 = true
	case "DSN":
		x.DSN = true
	case "CHUNKING":
		x.Chunking = true
	case "STARTTLS":
		x.StartTLS = true
	case "ENHANCEDSTATUSCODES":
		x.EnhancedStatusCodes = true
	case "REQUIRETLS":
		x.RequireTLS = true
	case "LIMITS":
		x.setLimits(rest)
	case "AUTH":
		x.Auth = words(x.Auth, rest)
	case "XCLIENT":
		x.XClient = words(x.XClient, rest)
	default:
		// "AUTH=LOGIN PLAIN" of servers older than RFC 2554.
		if first, ok := strings.CutPrefix(keyword, "AUTH="); ok {
			x.Auth = words(x.Auth, first+" "+rest)
		}
	}
}

// setLimits reads RFC 9422 section 4. Names that are not known are ignored,
// and so are values that are no positive number.
func (x *Extensions) setLimits(rest string) {
	for _, pair := range strings.Fields(rest) {
		name, value, _ := strings.Cut(pair, "=")
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || n == 0 {
			continue
		}
		switch strings.ToUpper(name) {
		case "MAILMAX":
			x.MailMax = int(n)
		case "RCPTMAX":
			x.RcptMax = int(n)
		}
	}
}

func words(have []string, rest string) []string {
	for _, w := range strings.Fields(rest) {
		if len(have) >= maxWords {
			break
		}
		have = append(have, strings.ToUpper(w))
	}
	return have
}

// greet reads the greeting.
func (c *Conn) greet(ctx context.Context) *Error {
	r, err := c.readReply(ctx, Greeting)
	if err != nil {
		return err
	}
	if r.Code != 220 {
		return c.refused(Greeting, r)
	}
	c.greeting = r
	return nil
}

// hello says EHLO, and HELO to a peer that does not know EHLO (RFC 5321
// section 3.2).
func (c *Conn) hello(ctx context.Context) *Error {
	r, err := c.command(ctx, Hello, "EHLO "+c.client.cfg.Hostname)
	if err != nil {
		return err
	}
	if r.Positive() {
		c.ext = ParseExtensions(r)
		return nil
	}
	if !r.Permanent() {
		return c.refused(Hello, r)
	}
	r, err = c.command(ctx, Hello, "HELO "+c.client.cfg.Hostname)
	if err != nil {
		return err
	}
	if !r.Positive() {
		return c.refused(Hello, r)
	}
	c.ext = Extensions{}
	return nil
}
