package spool

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

// errBody is what a body that does not read as its type says gives. It is
// treated like an unknown record: the sum was good, so a newer build wrote it.
var errBody = errors.New("record body does not read")

// maxRecipients bounds what a body may claim; the server's own bound is lower.
const maxRecipients = 1 << 16

// reader takes a body apart. After the first short read everything is zero and
// bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return le.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return le.Uint64(v)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a uvarint that counts things of at least one octet each.
func (r *reader) count() int {
	v := r.uvarint()
	if v > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(v)
}

func (r *reader) octets() []byte { return r.take(r.count()) }
func (r *reader) str() string    { return string(r.octets()) }

func (r *reader) time() time.Time { return fromNanos(int64(r.u64())) }

func (r *reader) id() (id envelope.ID) {
	copy(id[:], r.take(len(id)))
	return id
}

func (r *reader) incarnation() (inc envelope.Incarnation) {
	copy(inc[:], r.take(len(inc)))
	return inc
}

func (r *reader) addr() netip.AddrPort {
	n := int(r.u8())
	v := r.take(n)
	if n == 0 || v == nil {
		return netip.AddrPort{}
	}
	var a netip.AddrPort
	if a.UnmarshalBinary(v) != nil {
		r.bad = true
	}
	return a
}

func (r *reader) path() smtp.Path {
	local := r.str()
	return smtp.Path{Local: local, Domain: r.str()}
}

func (r *reader) enhanced() smtp.EnhancedCode {
	c, s, d := r.uvarint(), r.uvarint(), r.uvarint()
	return smtp.EnhancedCode{Class: uint16(c), Subject: uint16(s), Detail: uint16(d)}
}

// acceptHead is the part of an accept body that the index needs before it
// looks at the recipients.
func (r *reader) acceptHead(id envelope.ID) (*envelope.Envelope, contentRef) {
	var ref contentRef
	if r.u8() != bodyVersion {
		r.bad = true
		return nil, ref
	}
	e := &envelope.Envelope{ID: id, Kind: envelope.Kind(r.u8())}
	flags := r.u8()
	e.EightBit = flags&acceptEightBit != 0
	e.UTF8 = flags&acceptUTF8 != 0
	e.Params.SMTPUTF8 = flags&acceptSMTPUTF8 != 0
	e.Hops = uint16(r.uvarint())
	e.Size = int64(r.uvarint())
	switch {
	case flags&acceptNoContent != 0:
		ref.none = true
	case flags&acceptDraft != 0:
		ref.draft = true
		ref.id = r.id()
		ref.sum = r.u32()
		ref.key = r.u32()
	default:
		ref.distance = r.uvarint()
	}
	if flags&acceptParent != 0 {
		e.Parent = r.id()
	}
	return e, ref
}

// accept reads an accept body, or the accept part of a copy.
func (r *reader) accept(id envelope.ID) (*envelope.Envelope, contentRef, error) {
	e, ref := r.acceptHead(id)
	if r.bad {
		return nil, ref, errBody
	}
	e.Tenant = r.str()
	e.Region = r.str()
	e.Arrival = r.arrival()
	e.Reverse = r.path()
	e.Params.Size = int64(r.uvarint())
	e.Params.Body = smtp.Body(r.u8())
	e.Params.Ret = smtp.Ret(r.u8())
	e.Params.EnvID = r.str()
	e.Params.Auth = r.str()
	n := r.count()
	if n == 0 || n > maxRecipients {
		return nil, ref, errBody
	}
	e.Forward = make([]envelope.Recipient, n)
	for i := range e.Forward {
		e.Forward[i].Path = r.path()
		e.Forward[i].Params.Notify = smtp.Notify(r.u8())
		e.Forward[i].Params.ORcpt = r.str()
	}
	if r.bad {
		return nil, ref, errBody
	}
	return e, ref, nil
}

func (r *reader) arrival() (a envelope.Arrival) {
	a.Time = r.time()
	a.Client = r.addr()
	a.Server = r.addr()
	a.Listener = r.str()
	a.Hello = r.str()
	a.Protocol = r.str()
	a.TLS = r.str()
	a.User = r.str()
	return a
}

// statuses reads what a copy has behind its accept body.
func (r *reader) statuses(n int) ([]recipient, error) {
	list := make([]recipient, n)
	for i := range list {
		list[i].state = envelope.State(r.u8())
		list[i].cause = cause.Cause(r.u8())
		list[i].attempts = uint32(r.uvarint())
		list[i].next = int64(r.u64())
	}
	if r.bad {
		return nil, errBody
	}
	return list, nil
}

// change reads a move or finish body; when is the time of the change.
func (r *reader) change(id envelope.ID) (c envelope.Change, when time.Time, err error) {
	if r.u8() != bodyVersion {
		return c, when, errBody
	}
	c.ID = id
	c.Recipient = int(min(r.uvarint(), maxRecipients))
	c.To = envelope.State(r.u8())
	c.Cause = cause.Cause(r.u8())
	flags := r.u8()
	when = r.time()
	c.NextAttempt = r.time()
	if flags&changeReport != 0 {
		c.Report = r.id()
	}
	if flags&changeAttempt != 0 {
		c.Attempt = r.attempt()
	}
	if r.bad || c.To < envelope.Queued || c.To > envelope.Deleted {
		return c, when, errBody
	}
	return c, when, nil
}

func (r *reader) attempt() *envelope.Attempt {
	a := &envelope.Attempt{Time: r.time()}
	a.Duration = time.Duration(r.varint())
	a.NextHop = r.str()
	a.Host = r.str()
	a.Peer = r.addr()
	a.TLS = r.str()
	a.Cause = cause.Cause(r.u8())
	a.Reply.Code = int(r.uvarint())
	a.Reply.Enhanced = r.enhanced()
	if n := r.count(); n > 0 {
		a.Reply.Text = make([]string, n)
		for i := range a.Reply.Text {
			a.Reply.Text[i] = r.str()
		}
	}
	a.Detail = r.str()
	return a
}

func (r *reader) refused() (*RefusedEvent, error) {
	if r.u8() != bodyVersion {
		return nil, errBody
	}
	ev := &RefusedEvent{Time: r.time()}
	ev.Tenant = r.str()
	ev.Client = r.addr()
	ev.Listener = r.str()
	ev.Hello = r.str()
	ev.Reverse = r.path()
	ev.Size = int64(r.uvarint())
	ev.Reply.Code = int(r.uvarint())
	ev.Reply.Enhanced = r.enhanced()
	if text := r.str(); text != "" {
		ev.Reply.Text = []string{text}
	}
	n := r.count()
	if n > maxRecipients {
		return nil, errBody
	}
	for range n {
		ev.Forward = append(ev.Forward, r.path())
	}
	if r.bad {
		return nil, errBody
	}
	return ev, nil
}

func (r *reader) lost() (when time.Time, recipient int, reason string, err error) {
	if r.u8() != bodyVersion {
		return when, 0, "", errBody
	}
	when = r.time()
	recipient = int(min(r.uvarint(), maxRecipients)) - 1
	reason = r.str()
	if r.bad {
		err = errBody
	}
	return when, recipient, reason, err
}
