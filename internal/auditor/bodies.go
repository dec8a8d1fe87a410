package auditor

import (
	"time"

	"github.com/postern-mail/postern/internal/envelope"
)

// kindNames are the sources of the ledger by the numbers on the disk.
var kindNames = [...]string{"other", "inbound", "trusted", "submitted", "report"}

// stateNames are the states by the numbers on the disk.
var stateNames = [...]string{"none", "queued", "held", "delivered", "bounced", "dsn-suppressed", "discarded", "deleted"}

const (
	stateQueued   = 1
	terminalFirst = 3
	terminalLast  = 7
)

func stateName(s uint8) string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

func kindName(k uint8) string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[0]
}

func terminal(s uint8) bool { return s >= terminalFirst && s <= terminalLast }

// maxNamed bounds the forward-paths that one accept may claim. A body holds
// three octets for each at the least, so that garbage cannot claim more than
// it has.
const leastRecipientOctets = 4

// accepted is an accept body, or the accept part of a copy.
type accepted struct {
	kind      uint8
	size      uint64
	none      bool   // no content
	inline    uint64 // distance, when neither none nor draft
	draft     bool
	draftID   envelope.ID
	draftSum  uint32
	tenant    string
	arrival   time.Time
	reverse   string
	forward   []string
	bodyOther bool // a version that this reader does not know
}

// readAccept reads an accept body and leaves the cursor behind it.
func readAccept(c *cursor) accepted {
	var a accepted
	if v := c.octet(); v != 1 {
		a.bodyOther, c.ok = true, false
		return a
	}
	a.kind = c.octet()
	flags := c.octet()
	c.uvarint() // hops
	a.size = c.uvarint()
	a.none = flags&32 != 0
	a.draft = !a.none && flags&8 != 0
	switch {
	case a.none:
	case a.draft:
		a.draftID = c.id()
		a.draftSum = c.uint32()
		c.uint32() // key ID
	default:
		a.inline = c.uvarint()
	}
	if flags&16 != 0 {
		c.id()
	}
	a.tenant = c.str()
	c.skipStr() // region
	a.arrival = c.time()
	c.addr()
	c.addr()
	for range 5 { // listener, hello, protocol, tls, user
		c.skipStr()
	}
	a.reverse = c.path()
	c.uvarint() // SIZE
	c.next(2)   // body, ret
	c.skipStr() // envid
	c.skipStr() // auth
	n := c.uvarint()
	if n == 0 || n > uint64(len(c.rest))/leastRecipientOctets {
		c.ok = false
		return a
	}
	a.forward = make([]string, 0, n)
	for range n {
		a.forward = append(a.forward, c.path())
		c.octet() // notify
		c.skipStr()
	}
	return a
}

// status is one recipient's standing.
type status struct {
	state uint8
	next  int64 // ns; meaningful when queued
}

func readStatus(c *cursor) status {
	s := status{state: c.octet()}
	c.octet()   // cause
	c.uvarint() // attempts
	s.next = int64(c.uint64())
	return s
}

// changed is a move or finish body up to what the auditor needs. The attempt
// behind it is read to see that it reads.
type changed struct {
	recipient uint64
	to        uint8
	next      int64
}

func readChange(c *cursor) changed {
	var ch changed
	if c.octet() != 1 {
		c.ok = false
		return ch
	}
	ch.recipient = c.uvarint()
	ch.to = c.octet()
	c.octet() // cause
	flags := c.octet()
	c.time()
	ch.next = int64(c.uint64())
	if flags&2 != 0 {
		c.id()
	}
	if flags&1 != 0 {
		readAttempt(c)
	}
	if ch.to < stateQueued || ch.to > terminalLast {
		c.ok = false
	}
	return ch
}

func readAttempt(c *cursor) {
	c.time()
	c.uvarint() // duration: a varint takes the same octets
	c.skipStr() // next hop
	c.skipStr() // host
	c.addr()
	c.skipStr() // tls
	c.octet()   // cause
	for range 4 {
		c.uvarint() // code, enhanced
	}
	for n := c.uvarint(); n > 0 && c.ok; n-- {
		c.skipStr()
	}
	c.skipStr() // detail
}

// book is a ledger: recipients by tenant.
type book map[string]*account

type account struct {
	sources  [5]int64
	terminal [5]int64
	lost     int64
}

func (b book) of(tenant string) *account {
	a := b[tenant]
	if a == nil {
		a = new(account)
		b[tenant] = a
	}
	return a
}

func (a *account) source(kind uint8, n int64) {
	if int(kind) >= len(a.sources) {
		kind = 0
	}
	a.sources[kind] += n
}

func (a *account) end(state uint8, n int64) { a.terminal[state-terminalFirst] += n }

// readBook adds a ledger from c to b.
func readBook(c *cursor, b book) {
	for n := c.uvarint(); n > 0 && c.ok; n-- {
		tenant := c.str()
		var v [11]int64
		for i := range v {
			v[i] = int64(c.uvarint())
		}
		if !c.ok {
			return
		}
		a := b.of(tenant)
		for i := range 5 {
			a.sources[i] += v[i]
			a.terminal[i] += v[5+i]
		}
		a.lost += v[10]
	}
}
