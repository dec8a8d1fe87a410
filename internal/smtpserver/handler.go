package smtpserver

import (
	"context"
	"crypto/tls"
	"io"
	"net/netip"

	"github.com/postern-mail/postern/internal/smtp"
)

// Handler decides about sessions. One Handler serves all connections of a
// Server and is called from many goroutines at once.
type Handler interface {
	// Connect is called before the greeting, once the client's address is known
	// (after a PROXY header), and again after XCLIENT. A reply that is not zero
	// is said instead of the greeting and the connection closes; the Session is
	// then nil or is closed at once. c belongs to this Session: it changes only
	// between calls to it.
	Connect(ctx context.Context, c *Conn) (Session, smtp.Reply)
}

// Session decides about one connection. Its methods are called by one
// goroutine, one at a time, in an order that RFC 5321 section 4.1.4 allows. A
// zero reply means: say the default positive one. A reply with Close set
// closes the connection after it was said.
type Session interface {
	// Hello is called for EHLO and HELO; the argument is in Conn.Hello.
	Hello(ctx context.Context) smtp.Reply
	// Auth checks a password. mechanism is "PLAIN" or "LOGIN"; authzid is "" when
	// none was given. A zero or 2yz reply authenticates; Conn.User is then user.
	// Only called on submission listeners, under TLS.
	Auth(ctx context.Context, mechanism, authzid, user, password string) smtp.Reply
	// Mail is called with a reverse-path and parameters that were checked: the
	// declared size fits, a non-ASCII path has SMTPUTF8. Auth is "<>" unless the
	// client is authenticated (RFC 4954 section 5).
	Mail(ctx context.Context, from smtp.Path, p smtp.MailParams) smtp.Reply
	// Rcpt is called once per forward-path, at most MaxRecipients times with a
	// positive reply.
	Rcpt(ctx context.Context, to smtp.Path, p smtp.RcptParams) smtp.Reply
	// Content is called at DATA or at the first BDAT. A reply that is not zero
	// refuses the content; Content is then nil.
	Content(ctx context.Context) (Content, smtp.Reply)
	// Reset ends a transaction, whatever became of it: after Commit or Abort,
	// RSET, EHLO and STARTTLS. It may be called when there is none.
	Reset()
	// Close is always called, once, as the last call.
	Close()
}

// Content takes the content of one message. Exactly one of Commit and Abort is
// called, and nothing after it.
type Content interface {
	// Write takes decoded octets: lines that end with CRLF, without dots of
	// transparency and without NUL, cut anywhere. It must not keep p. If it
	// returns an error the content is aborted, the error's reply is said (method
	// SMTPReply() smtp.Reply; 451 4.3.0 without one) and the connection closes.
	io.Writer
	// Commit is called when the end of the content was read. It makes the
	// message durable and returns the reply; zero means 250 2.0.0. ctx does not
	// end with the client's connection nor with Shutdown.
	Commit(ctx context.Context) smtp.Reply
	// Abort is called when the content did not end well.
	Abort()
}

// Replier is an error that knows its reply.
type Replier interface {
	error
	SMTPReply() smtp.Reply
}

// Conn holds the facts of one connection. The server changes it, and only
// between calls to the Session; it stays valid, and does not change any more,
// after Session.Close.
type Conn struct {
	Session     uint64         // its number, as in the log
	Listener    string         // Config.Name
	Local       netip.AddrPort // as the client dialled it, by PROXY or XCLIENT too
	Remote      netip.AddrPort // the client, by PROXY or XCLIENT too; IPv4 is never IPv4-mapped
	ProxiedFrom netip.AddrPort // the proxy or the XCLIENT client; zero when Remote itself connected
	PeerName    string         // reverse name that a trusted XCLIENT client gave; "" else
	Hello       string         // argument of the last EHLO or HELO; "" before
	ESMTP       bool           // it was EHLO
	Submission  bool           // Config.Submission
	TLS         *tls.ConnectionState
	TLSText     string // "TLS1.3 TLS_AES_128_GCM_SHA256"; "" without TLS
	TLSName     string // server name that the client asked for (SNI); "" when none
	User        string // authenticated identity; "" when none
	UTF8        bool   // the open transaction has SMTPUTF8
	Messages    int    // messages accepted so far on this connection
}

// Protocol returns the "with" word of the Received field: RFC 3848, and RFC
// 6531 section 4.3 for transactions with SMTPUTF8.
func (c *Conn) Protocol() string {
	switch {
	case !c.ESMTP:
		return "SMTP"
	case c.UTF8:
		return "UTF8SMTP" + c.suffix()
	}
	return "ESMTP" + c.suffix()
}

func (c *Conn) suffix() string {
	switch {
	case c.TLSText != "" && c.User != "":
		return "SA"
	case c.TLSText != "":
		return "S"
	case c.User != "":
		return "A"
	}
	return ""
}
