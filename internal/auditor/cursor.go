package auditor

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
)

// cursor takes octets apart by the words of the format text. Once it has run
// short it yields zeros, and ok is false.
type cursor struct {
	rest []byte
	ok   bool
}

func over(b []byte) *cursor { return &cursor{rest: b, ok: true} }

func (c *cursor) next(n uint64) []byte {
	if !c.ok || n > uint64(len(c.rest)) {
		c.ok = false
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) octet() byte {
	b := c.next(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (c *cursor) uint32() uint32 {
	b := c.next(4)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

func (c *cursor) uint64() uint64 {
	b := c.next(8)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.rest)
	if !c.ok || n <= 0 {
		c.ok = false
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

func (c *cursor) str() string { return string(c.next(c.uvarint())) }

func (c *cursor) skipStr() { c.next(c.uvarint()) }

func (c *cursor) id() (id envelope.ID) {
	copy(id[:], c.next(uint64(len(id))))
	return id
}

func (c *cursor) incarnation() (inc envelope.Incarnation) {
	copy(inc[:], c.next(uint64(len(inc))))
	return inc
}

func (c *cursor) time() time.Time { return atTime(c.uint64()) }

func atTime(ns uint64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(ns)).UTC()
}

func (c *cursor) addr() {
	b := c.next(c.uvarint())
	var a netip.AddrPort
	if len(b) > 0 && a.UnmarshalBinary(b) != nil {
		c.ok = false
	}
}

// path reads local and domain and joins them for people.
func (c *cursor) path() string {
	local, domain := c.str(), c.str()
	switch {
	case local == "" && domain == "":
		return "<>"
	case domain == "":
		return local
	}
	return local + "@" + domain
}
