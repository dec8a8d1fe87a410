package dsn

import (
	"errors"
	"io"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/smtp"
)

// The bounds of a report. Chosen: a returned header that is longer is no help
// to anyone, and a full original above 64 KiB is mostly attachment.
const (
	// FullMax is the most octets of an original that is returned in full.
	FullMax = 64 << 10
	// HeaderMax is the most octets of a returned header.
	HeaderMax = 64 << 10
	// WordsMax is the most octets of a peer's reply that are repeated.
	WordsMax = 2048
	// ToldMax is the most recipients that the part for people lists.
	ToldMax = 50
)

// Action is what happened to a recipient (RFC 3464 section 2.3.3).
type Action uint8

// The actions.
const (
	Failed Action = 1 + iota
	Delayed
	Relayed   // given to a server that does not report further
	Delivered // into the mailbox
)

// String returns the action as the report's field says it.
func (a Action) String() string {
	switch a {
	case Failed:
		return "failed"
	case Delayed:
		return "delayed"
	case Relayed:
		return "relayed"
	case Delivered:
		return "delivered"
	}
	return ""
}

// Recipient is one forward-path that a report is about.
type Recipient struct {
	Final    smtp.Path
	Original string // ORCPT as smtp.RcptParams has it, "rfc822;user@example.org"; "" when not given
	Action   Action
	// Cause is why it failed or waits; None otherwise.
	Cause cause.Cause
	// Last is, when Cause is Expired, the cause of the last attempt.
	Last        cause.Cause
	Reply       smtp.Reply // the peer's words, zero when it said none
	Remote      string     // the peer's host name, "" when none was reached
	LastAttempt time.Time  // zero when not known
	RetryUntil  time.Time  // Delayed only
}

// Report is what a DSN is made from.
type Report struct {
	// Hostname is this node's name: the Reporting-MTA and the domain of From.
	Hostname string
	// MessageID is the left part of the report's Message-ID, unique here.
	MessageID string
	// About is our ID of the message that is reported on.
	About   string
	To      smtp.Path // the reverse-path of that message
	EnvID   string    // its ENVID, decoded
	Arrival time.Time // when it came
	Now     time.Time // the report's Date
	// UTF8 says that the sender takes internationalized mail: the message came
	// with SMTPUTF8. It is implied when To is not ASCII.
	UTF8       bool
	Recipients []Recipient

	Original io.ReaderAt // the message's content; nil: nothing is returned
	Size     int64       // its octets
	Ret      smtp.Ret    // RetFull asks for it whole
	FullMax  int64       // 0: the constant FullMax
}

// Message is a report that is ready to be spooled.
type Message struct {
	Content  []byte
	EightBit bool // needs 8BITMIME
	UTF8     bool // a header field is not ASCII: needs SMTPUTF8
}

// Build makes the report.
func Build(r *Report) (Message, error) {
	if len(r.Recipients) == 0 {
		return Message{}, errors.New("report without recipients")
	}
	if r.To.IsNull() {
		return Message{}, errors.New("report to a null reverse-path")
	}
	b := builder{Report: r, utf8: r.UTF8 || !r.To.ASCII()}
	original, err := b.original()
	if err != nil {
		return Message{}, err
	}
	parts := []part{b.people(), b.status()}
	if original.kind != "" {
		parts = append(parts, original)
	}
	return b.join(parts), nil
}

type builder struct {
	*Report
	utf8 bool // 8-bit parts and UTF-8 fields may be used
}

// has reports whether any recipient has the action.
func (b *builder) has(a Action) bool {
	for i := range b.Recipients {
		if b.Recipients[i].Action == a {
			return true
		}
	}
	return false
}

// subject says the worst that happened.
func (b *builder) subject() string {
	switch {
	case b.has(Failed):
		return "Your message could not be delivered"
	case b.has(Delayed):
		return "Your message is delayed, no need to send it again"
	case b.has(Relayed):
		return "Your message was passed on"
	}
	return "Your message was delivered"
}
