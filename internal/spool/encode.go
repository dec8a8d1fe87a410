package spool

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

const bodyVersion = 1

// Flags of an accept body.
const (
	acceptEightBit = 1 << iota
	acceptUTF8
	acceptSMTPUTF8
	acceptDraft
	acceptParent
	acceptNoContent
)

// Flags of a change body.
const (
	changeAttempt = 1 << iota
	changeReport
)

// contentRef says where the content of an accept lies.
type contentRef struct {
	none     bool
	draft    bool
	distance uint64      // inline: from the content record to the accept record
	id       envelope.ID // draft file
	sum      uint32      // of the draft file
	key      uint32
}

func appendStr(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendTime(b []byte, t time.Time) []byte {
	return le.AppendUint64(b, uint64(nanos(t)))
}

func appendAddr(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, 0)
	}
	at := len(b)
	b = append(b, 0)
	b, err := a.AppendBinary(b)
	if err != nil || len(b)-at-1 > 255 {
		return append(b[:at], 0) // a zone of absurd length is dropped with its address
	}
	b[at] = byte(len(b) - at - 1)
	return b
}

func appendPath(b []byte, p smtp.Path) []byte {
	return appendStr(appendStr(b, p.Local), p.Domain)
}

// appendAccept appends an accept body.
func appendAccept(b []byte, e *envelope.Envelope, ref contentRef) []byte {
	var flags byte
	set := func(on bool, f byte) {
		if on {
			flags |= f
		}
	}
	set(e.EightBit, acceptEightBit)
	set(e.UTF8, acceptUTF8)
	set(e.Params.SMTPUTF8, acceptSMTPUTF8)
	set(ref.draft, acceptDraft)
	set(!e.Parent.IsZero(), acceptParent)
	set(ref.none, acceptNoContent)
	b = append(b, bodyVersion, byte(e.Kind), flags)
	b = binary.AppendUvarint(b, uint64(e.Hops))
	b = binary.AppendUvarint(b, uint64(e.Size))
	switch {
	case ref.none:
	case ref.draft:
		b = append(b, ref.id[:]...)
		b = le.AppendUint32(b, ref.sum)
		b = le.AppendUint32(b, ref.key)
	default:
		b = binary.AppendUvarint(b, ref.distance)
	}
	if !e.Parent.IsZero() {
		b = append(b, e.Parent[:]...)
	}
	b = appendStr(b, e.Tenant)
	b = appendStr(b, e.Region)
	b = appendArrival(b, &e.Arrival)
	b = appendPath(b, e.Reverse)
	b = binary.AppendUvarint(b, uint64(e.Params.Size))
	b = append(b, byte(e.Params.Body), byte(e.Params.Ret))
	b = appendStr(b, e.Params.EnvID)
	b = appendStr(b, e.Params.Auth)
	b = binary.AppendUvarint(b, uint64(len(e.Forward)))
	for i := range e.Forward {
		r := &e.Forward[i]
		b = appendPath(b, r.Path)
		b = append(b, byte(r.Params.Notify))
		b = appendStr(b, r.Params.ORcpt)
	}
	return b
}

func appendArrival(b []byte, a *envelope.Arrival) []byte {
	b = appendTime(b, a.Time)
	b = appendAddr(b, a.Client)
	b = appendAddr(b, a.Server)
	b = appendStr(b, a.Listener)
	b = appendStr(b, a.Hello)
	b = appendStr(b, a.Protocol)
	b = appendStr(b, a.TLS)
	return appendStr(b, a.User)
}

// appendStatuses appends what a copy has behind its accept body.
func appendStatuses(b []byte, list []recipient) []byte {
	for i := range list {
		r := &list[i]
		b = append(b, byte(r.state), byte(r.cause))
		b = binary.AppendUvarint(b, uint64(r.attempts))
		b = le.AppendUint64(b, uint64(r.next))
	}
	return b
}

// appendChange appends a move or finish body.
func appendChange(b []byte, c *envelope.Change, now time.Time) []byte {
	var flags byte
	if c.Attempt != nil {
		flags |= changeAttempt
	}
	if !c.Report.IsZero() {
		flags |= changeReport
	}
	b = append(b, bodyVersion)
	b = binary.AppendUvarint(b, uint64(c.Recipient))
	b = append(b, byte(c.To), byte(c.Cause), flags)
	b = appendTime(b, now)
	b = appendTime(b, c.NextAttempt)
	if !c.Report.IsZero() {
		b = append(b, c.Report[:]...)
	}
	if a := c.Attempt; a != nil {
		b = appendTime(b, a.Time)
		b = binary.AppendVarint(b, int64(a.Duration))
		b = appendStr(b, a.NextHop)
		b = appendStr(b, a.Host)
		b = appendAddr(b, a.Peer)
		b = appendStr(b, a.TLS)
		b = append(b, byte(a.Cause))
		b = appendReply(b, &a.Reply)
		b = appendStr(b, a.Detail)
	}
	return b
}

func appendEnhanced(b []byte, e smtp.EnhancedCode) []byte {
	b = binary.AppendUvarint(b, uint64(e.Class))
	b = binary.AppendUvarint(b, uint64(e.Subject))
	return binary.AppendUvarint(b, uint64(e.Detail))
}

func appendReply(b []byte, r *smtp.Reply) []byte {
	b = binary.AppendUvarint(b, uint64(r.Code))
	b = appendEnhanced(b, r.Enhanced)
	b = binary.AppendUvarint(b, uint64(len(r.Text)))
	for _, line := range r.Text {
		b = appendStr(b, line)
	}
	return b
}

// appendRefused appends a refused body.
func appendRefused(b []byte, ev *RefusedEvent) []byte {
	b = append(b, bodyVersion)
	b = appendTime(b, ev.Time)
	b = appendStr(b, ev.Tenant)
	b = appendAddr(b, ev.Client)
	b = appendStr(b, ev.Listener)
	b = appendStr(b, ev.Hello)
	b = appendPath(b, ev.Reverse)
	b = binary.AppendUvarint(b, uint64(ev.Size))
	b = binary.AppendUvarint(b, uint64(ev.Reply.Code))
	b = appendEnhanced(b, ev.Reply.Enhanced)
	text := ""
	if len(ev.Reply.Text) > 0 {
		text = ev.Reply.Text[0]
	}
	b = appendStr(b, text)
	b = binary.AppendUvarint(b, uint64(len(ev.Forward)))
	for _, p := range ev.Forward {
		b = appendPath(b, p)
	}
	return b
}

// appendLost appends a lost body; recipient -1 is the whole message.
func appendLost(b []byte, now time.Time, recipient int, reason string) []byte {
	b = append(b, bodyVersion)
	b = appendTime(b, now)
	b = binary.AppendUvarint(b, uint64(recipient+1))
	return appendStr(b, reason)
}
