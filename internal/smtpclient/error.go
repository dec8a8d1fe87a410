package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpwire"
)

// Phase is where in the dialogue something happened.
type Phase uint8

// The phases, in the order of the dialogue.
const (
	Connect Phase = 1 + iota
	Greeting
	Hello
	StartTLS
	Mail
	Rcpt
	Data
	Content
	EndOfData
	Reset
	Quit
)

// String returns the phase's word, for people and metric labels.
func (p Phase) String() string {
	if int(p) < len(Phases()) {
		return Phases()[p]
	}
	return "none"
}

// Phases returns all words that Phase.String returns.
func Phases() []string {
	return []string{"none", "connect", "greeting", "hello", "starttls", "mail", "rcpt", "data", "content", "end-of-data", "reset", "quit"}
}

// Kind is what happened. See the table in the package comment.
type Kind uint8

// The kinds.
const (
	Refused Kind = 1 + iota
	Unreachable
	Timeout
	Slow
	Closed
	Protocol
	TLSFailed
	TLSMissing
	TLSCertificate
	Need8BitMIME
	NeedSMTPUTF8
	TooLarge
	Local
	Cancelled
)

// String returns the kind's words for people.
func (k Kind) String() string {
	words := []string{
		"", "refused", "no connection", "timeout", "too slow", "closed by peer", "protocol error",
		"TLS handshake failed", "peer has no TLS", "certificate not accepted", "peer lacks 8BITMIME",
		"peer lacks SMTPUTF8", "too large for peer", "content could not be read", "cancelled",
	}
	if int(k) < len(words) {
		return words[k]
	}
	return "unknown"
}

// Error is how a dialogue breaks.
type Error struct {
	Phase Phase
	Kind  Kind
	// Reply is what the peer said with it, verbatim; zero when it said nothing.
	Reply smtp.Reply
	// AfterData: the peer may hold the whole message.
	AfterData bool
	// Timeout: a deadline passed (Kind is Timeout or Slow, or Unreachable when
	// the connection did not come to be in time).
	Timeout bool
	Err     error // what happened below; nil when Kind says it all
}

// Error names the phase, what happened and the peer's words.
func (e *Error) Error() string {
	s := e.Phase.String() + ": " + e.Kind.String()
	if !e.Reply.IsZero() {
		s += ": " + e.Reply.String()
	}
	if e.Err != nil {
		s = fmt.Sprintf("%s: %v", s, e.Err)
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// What an *Error of kind Protocol may wrap.
var (
	// ErrOutOfTurn: the peer said something that nobody asked for.
	ErrOutOfTurn = errors.New("reply out of turn")
	// ErrUnexpectedCode: a reply code that the command can't have.
	ErrUnexpectedCode = errors.New("impossible reply code")
	// ErrShortContent: the content ended before its stated size.
	ErrShortContent = errors.New("content is shorter than stated")
)

// broken turns an I/O error of a standing connection into an *Error.
func broken(ctx context.Context, p Phase, err error) *Error {
	e := &Error{Phase: p, Err: err}
	var ne net.Error
	switch {
	case errors.Is(err, smtpwire.ErrReply), errors.Is(err, smtpwire.ErrLineTooLong), errors.Is(err, smtpwire.ErrBareCR),
		errors.Is(err, smtpwire.ErrBareLF), errors.Is(err, ErrOutOfTurn), errors.Is(err, ErrUnexpectedCode):
		e.Kind = Protocol
	case late(ctx):
		e.Kind, e.Timeout = Slow, true
	case ctx.Err() != nil:
		e.Kind, e.Err = Cancelled, context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		e.Kind, e.Timeout = Timeout, true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		e.Kind = Closed
	case errors.Is(err, io.ErrNoProgress):
		e.Kind = Protocol
	default:
		e.Kind = Closed // a TLS alert, a strange errno: no connection any more
	}
	return e
}

// late reports whether ctx's deadline has passed. The connection's own timer
// may run before that of ctx, so Err alone does not say it.
func late(ctx context.Context) bool {
	if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
		return true
	}
	return errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}
