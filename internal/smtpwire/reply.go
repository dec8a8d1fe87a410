package smtpwire

import (
	"errors"
	"fmt"

	"github.com/postern-mail/postern/internal/smtp"
)

// Bounds of a reply that is read. RFC 5321 section 4.5.3.1.5 names 512 octets
// for a line; longer ones are seen and harmless up to the buffer. The number
// of lines is chosen: EHLO of the longest-winded servers has about 30.
const (
	maxReplyLine  = CommandBuffer
	maxReplyLines = 128
)

// ErrReply says that a peer answered with something that is no SMTP reply.
var ErrReply = errors.New("not an SMTP reply")

// ReadReply reads one reply, of as many lines as it has. Text keeps the peer's
// words verbatim; an enhanced code that every line bears is taken off them
// into Enhanced. The code is that of the last line: RFC 5321 section 4.2.1
// asks for the same on each.
func (r *Reader) ReadReply() (smtp.Reply, error) {
	var reply smtp.Reply
	for range maxReplyLines {
		line, err := r.ReadLine(maxReplyLine)
		if err != nil {
			return smtp.Reply{}, err
		}
		code, more, text, ok := smtp.ParseReplyLine(line)
		if !ok {
			return smtp.Reply{}, fmt.Errorf("%w: %.80q", ErrReply, line)
		}
		reply.Code = code
		reply.Text = append(reply.Text, string(text))
		if !more {
			liftEnhanced(&reply)
			return reply, nil
		}
	}
	return smtp.Reply{}, fmt.Errorf("%w: more than %d lines", ErrReply, maxReplyLines)
}

// liftEnhanced moves the enhanced code off the lines of r if all bear the same
// and its class is that of the reply (RFC 2034 section 4).
func liftEnhanced(r *smtp.Reply) {
	first, _, ok := smtp.CutEnhanced(r.Text[0])
	if !ok || int(first.Class) != r.Code/100 {
		return
	}
	for _, line := range r.Text {
		if e, _, _ := smtp.CutEnhanced(line); e != first {
			return
		}
	}
	r.Enhanced = first
	for i, line := range r.Text {
		_, r.Text[i], _ = smtp.CutEnhanced(line)
	}
}
