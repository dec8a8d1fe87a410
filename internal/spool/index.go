package spool

import (
	"strings"
	"sync"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

// stripes is the number of parts in which the index is saved. 4,096: with a
// million live messages one part is 250 entries, which take 25 us to save.
const stripes = 4096

// recipient is one recipient of a live message. It holds no pointers, so that
// the garbage collector never looks at a million of them.
type recipient struct {
	next     int64 // ns since 1970
	attempts uint32
	domain   uint32 // interned
	state    envelope.State
	cause    cause.Cause
}

// Flags of an entry.
const (
	entryDraft = 1 << iota // content in a draft file
	entryDoubt             // an unknown record was met
)

// entry is one live message in 64 octets: where its accept lies and how its
// first recipient stands. Those of several recipients are in index.more.
type entry struct {
	arrival int64
	batch   uint64
	segment uint32
	offset  uint32 // of the accept or copy record
	length  uint32 // of it
	tenant  uint32 // interned
	size    uint32 // octets of content
	count   uint16 // recipients
	kind    envelope.Kind
	flags   uint8
	one     [1]recipient
}

// held is the octets of log that an entry keeps from being freed.
func (e *entry) held() int64 {
	n := int64(e.length)
	if e.flags&entryDraft == 0 {
		n += int64(e.size)
	}
	return n
}

type stripe struct {
	m     map[envelope.ID]entry
	saved uint64 // generation of the snapshot that has it
}

// index holds every live message, the ledger, and which draft files are used.
// It always is the state after the last written batch. mu guards all of it;
// it is taken after Spool.mu and never while waiting for the disk.
type index struct {
	mu       sync.RWMutex
	stripes  [stripes]stripe
	more     map[envelope.ID][]recipient
	live     int
	segments map[uint32]*segmentUse
	drafts   map[envelope.ID]int // live messages that use the draft file
	draftOf  map[envelope.ID]envelope.ID
	orphans  []envelope.ID // draft files that nothing uses any more
	domains  interner
	tenants  interner
	ledger   []TenantLedger // by interned tenant
	snap     *snapshot
	snapGen  uint64
}

// segmentUse is what lives in one segment.
type segmentUse struct {
	messages int
	octets   int64
	pinned   bool // holds an unknown record: never freed by this build
}

func newIndex() *index {
	return &index{
		more:     map[envelope.ID][]recipient{},
		segments: map[uint32]*segmentUse{},
		drafts:   map[envelope.ID]int{},
		draftOf:  map[envelope.ID]envelope.ID{},
		domains:  newInterner(),
		tenants:  newInterner(),
	}
}

func stripeOf(id envelope.ID) int { return (int(id[14])<<8 | int(id[15])) & (stripes - 1) }

func (x *index) get(id envelope.ID) (entry, bool) {
	e, ok := x.stripes[stripeOf(id)].m[id]
	return e, ok
}

// put stores e after the stripe was saved for a running snapshot.
func (x *index) put(id envelope.ID, e entry) {
	i := stripeOf(id)
	x.touch(i)
	if x.stripes[i].m == nil {
		x.stripes[i].m = map[envelope.ID]entry{}
	}
	x.stripes[i].m[id] = e
}

// recipients returns the recipients of e, to be read only.
func (x *index) recipients(id envelope.ID, e *entry) []recipient {
	if e.count == 1 {
		return e.one[:]
	}
	return x.more[id]
}

func (x *index) use(segment uint32) *segmentUse {
	u := x.segments[segment]
	if u == nil {
		u = &segmentUse{}
		x.segments[segment] = u
	}
	return u
}

// place says where an accept or copy record lies.
type place struct {
	batch   uint64
	segment uint32
	offset  uint32
	length  uint32
}

// insert adds a message that is not there yet. statuses is nil for a fresh
// accept: every recipient is queued and due at once.
func (x *index) insert(env *envelope.Envelope, ref contentRef, at place, statuses []recipient) {
	e := entry{
		arrival: nanos(env.Arrival.Time),
		batch:   at.batch, segment: at.segment, offset: at.offset, length: at.length,
		tenant: x.tenant(env.Tenant), size: uint32(env.Size),
		count: uint16(len(env.Forward)), kind: env.Kind,
	}
	list, several := e.one[:], []recipient(nil)
	if e.count > 1 {
		several = make([]recipient, e.count)
		list = several
	}
	ended := 0
	l := &x.ledger[e.tenant]
	for i := range list {
		if statuses != nil {
			list[i] = statuses[i]
		} else {
			list[i] = recipient{state: envelope.Queued}
		}
		list[i].domain = x.domains.take(domainKey(env.Forward[i].Path))
		l.count(list[i].state, 1)
		if list[i].state.Terminal() {
			ended++
		}
	}
	l.Sources[kindIndex(env.Kind)] += int64(e.count)
	if ended == len(list) {
		x.release(list)
		return
	}
	if e.count > 1 {
		x.touch(stripeOf(env.ID))
		x.more[env.ID] = several
	}
	if ref.draft || ref.none {
		e.flags |= entryDraft
	}
	x.put(env.ID, e)
	x.live++
	u := x.use(at.segment)
	u.messages++
	u.octets += e.held()
	if ref.draft {
		x.drafts[ref.id]++
		x.draftOf[env.ID] = ref.id
	}
}

// relocate notes that a copy of a live message now is what counts.
func (x *index) relocate(id envelope.ID, at place) {
	e, ok := x.get(id)
	if !ok || e.segment == at.segment && e.offset == at.offset {
		return
	}
	old := x.use(e.segment)
	old.messages--
	old.octets -= e.held()
	e.batch, e.segment, e.offset, e.length = at.batch, at.segment, at.offset, at.length
	u := x.use(at.segment)
	u.messages++
	u.octets += e.held()
	x.put(id, e)
}

// change applies one change. It reports whether anything changed: a recipient
// whose walk has ended is left alone, which makes replaying harmless.
func (x *index) change(id envelope.ID, rcpt int, to envelope.State, c cause.Cause, tried bool, next int64) bool {
	e, ok := x.get(id)
	if !ok || rcpt < 0 || rcpt >= int(e.count) {
		return false
	}
	x.touch(stripeOf(id))
	r := &e.one[0]
	if e.count > 1 {
		r = &x.more[id][rcpt]
	}
	if r.state.Terminal() {
		return false
	}
	l := &x.ledger[e.tenant]
	l.count(r.state, -1)
	l.count(to, 1)
	r.state, r.cause, r.next = to, c, next
	if tried {
		r.attempts++
	}
	if to.Terminal() && x.allTerminal(id, &e) {
		x.remove(id, &e)
		return true
	}
	if e.count == 1 {
		x.put(id, e)
	}
	return true
}

func (x *index) allTerminal(id envelope.ID, e *entry) bool {
	for _, r := range x.recipients(id, e) {
		if !r.state.Terminal() {
			return false
		}
	}
	return true
}

// remove forgets a message; its ledger counts stay.
func (x *index) remove(id envelope.ID, e *entry) {
	x.touch(stripeOf(id))
	x.release(x.recipients(id, e))
	delete(x.more, id)
	delete(x.stripes[stripeOf(id)].m, id)
	x.live--
	u := x.use(e.segment)
	u.messages--
	u.octets -= e.held()
	if d, ok := x.draftOf[id]; ok {
		delete(x.draftOf, id)
		if x.drafts[d]--; x.drafts[d] <= 0 {
			delete(x.drafts, d)
			x.orphans = append(x.orphans, d)
		}
	}
}

// lose forgets a message that is destroyed and counts what was open as lost.
func (x *index) lose(id envelope.ID) {
	e, ok := x.get(id)
	if !ok {
		return
	}
	l := &x.ledger[e.tenant]
	for _, r := range x.recipients(id, &e) {
		if !r.state.Terminal() {
			l.count(r.state, -1)
			l.Lost++
		}
	}
	x.remove(id, &e)
}

// doubt holds a message about which a record of an unknown type speaks.
func (x *index) doubt(id envelope.ID) bool {
	e, ok := x.get(id)
	if !ok {
		return false
	}
	x.touch(stripeOf(id))
	list := x.more[id]
	if e.count == 1 {
		list = e.one[:]
	}
	l := &x.ledger[e.tenant]
	for i := range list {
		if r := &list[i]; r.state == envelope.Queued {
			l.count(r.state, -1)
			r.state, r.cause = envelope.Held, cause.LocalInternal
			l.count(r.state, 1)
		}
	}
	e.flags |= entryDoubt
	x.use(e.segment).pinned = true
	x.put(id, e)
	return true
}

// in lists the live messages whose accept lies in a segment.
func (x *index) in(segment uint32) []envelope.ID {
	var ids []envelope.ID
	for i := range x.stripes {
		for id, e := range x.stripes[i].m {
			if e.segment == segment {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func (x *index) release(list []recipient) {
	for i := range list {
		x.domains.give(list[i].domain)
	}
}

// tenant interns a tenant and makes room for its ledger.
func (x *index) tenant(name string) uint32 {
	i := x.tenants.take(name)
	for int(i) >= len(x.ledger) {
		x.ledger = append(x.ledger, TenantLedger{})
	}
	return i
}

// count moves n recipients into (or, negative, out of) state s.
func (l *TenantLedger) count(s envelope.State, n int64) {
	switch {
	case s == envelope.Queued:
		l.Live += n
	case s == envelope.Held:
		l.Held += n
	case int(s) < len(l.Terminal):
		l.Terminal[s] += n
	}
}

func kindIndex(k envelope.Kind) int {
	if k > envelope.Report {
		return 0
	}
	return int(k)
}

// domainKey is the domain by which the queue schedules; a domain without a key
// (an address that the server should not have taken) is kept as it is.
func domainKey(p smtp.Path) string {
	if p.Domain == "" {
		return ""
	}
	k, err := smtp.DomainKey(p.Domain)
	if err != nil {
		return strings.ToLower(p.Domain)
	}
	return k
}
