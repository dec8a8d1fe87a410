package spool

import (
	"sync"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
)

// group is what one call gives: records that count whole or not at all. Its
// offsets count from its own start; into moves them to the batch's. Content is
// not copied here but straight from the draft's buffer into the batch.
type group struct {
	buf     []byte // records, without the content's octets
	ops     []op
	records int
	extra   []byte // content octets, put behind the first header in buf
	split   int    // where extra goes; 0: nowhere
	started bool
	accepts bool // new mail, or a copy
}

var groupPool = sync.Pool{New: func() any { return &group{} }}

func (g *group) put() {
	clear(g.ops)
	if cap(g.buf) <= 256<<10 {
		*g = group{buf: g.buf[:0], ops: g.ops[:0]}
		groupPool.Put(g)
	}
}

// at is the offset in the group as it will be in the batch.
func (g *group) at() int {
	if g.split > 0 {
		return len(g.buf) + len(g.extra)
	}
	return len(g.buf)
}

// start begins a record and returns where; end must follow.
func (g *group) start(typ recordType, id envelope.ID) int {
	at := len(g.buf)
	var h [recordOctets]byte
	r := recordHeader{typ: typ, id: id}
	if !g.started {
		r.flags, g.started = flagGroup, true
	}
	r.encode(h[:])
	g.buf = append(g.buf, h[:]...)
	g.records++
	return at
}

// end writes the length of the record at start and pads it. It returns its
// place in the group.
func (g *group) end(start int) (from, to uint32) {
	le.PutUint32(g.buf[start+4:], uint32(len(g.buf)-start-recordOctets))
	n := len(g.buf)
	g.pad(n - start)
	shift := 0
	if g.split > 0 {
		shift = len(g.extra)
	}
	return uint32(start + shift), uint32(n + shift)
}

func (g *group) pad(n int) {
	var zero [8]byte
	g.buf = append(g.buf, zero[:(8-n&7)&7]...)
}

// content adds the content record (when it is inline) and an accept for each
// envelope.
func (g *group) content(d *Draft, envs []*envelope.Envelope, ref contentRef) {
	if len(envs) == 0 {
		return
	}
	g.accepts = true
	if !ref.draft {
		at := g.start(recContent, envs[0].ID)
		g.buf = append(g.buf, 0, 0, 0, 0, 0, 0, 0, 0) // key ID: clear
		g.extra, g.split = d.inline(), len(g.buf)
		le.PutUint32(g.buf[at+4:], uint32(8+len(g.extra)))
		g.pad(recordOctets + 8 + len(g.extra))
	}
	for _, e := range envs {
		at := g.start(recAccept, e.ID)
		ref.distance = uint64(g.at() - recordOctets)
		g.buf = appendAccept(g.buf, e, ref)
		o := op{kind: opAccept, id: e.ID, env: e, ref: ref}
		o.start, o.end = g.end(at)
		g.ops = append(g.ops, o)
	}
}

// change adds a move or finish.
func (g *group) change(c *envelope.Change, now time.Time, lazy bool) {
	typ := recMove
	if c.To.Terminal() {
		typ = recFinish
	}
	at := g.start(typ, c.ID)
	g.buf = appendChange(g.buf, c, now)
	o := op{
		kind: opChange, lazy: lazy, id: c.ID, rcpt: int32(c.Recipient), to: c.To, cause: c.Cause,
		tried: c.Attempt != nil, next: nanos(c.NextAttempt),
	}
	o.start, o.end = g.end(at)
	g.ops = append(g.ops, o)
}

// into appends the group to a batch.
func (g *group) into(b *batch) {
	base := uint32(len(b.buf))
	if g.split > 0 {
		b.buf = append(b.buf, g.buf[:g.split]...)
		b.buf = append(b.buf, g.extra...)
		b.buf = append(b.buf, g.buf[g.split:]...)
	} else {
		b.buf = append(b.buf, g.buf...)
	}
	for i := range g.ops {
		o := g.ops[i]
		o.start += base
		o.end += base
		b.ops = append(b.ops, o)
	}
	b.records += g.records
	b.accepts = b.accepts || g.accepts
}
