package auditor

import (
	"fmt"

	"github.com/postern-mail/postern/internal/envelope"
)

// message is one message, live or ended, of the main log, or one that only the
// event log (or only the checkpoint) knows.
type message struct {
	tenant  string
	kind    uint8
	file    *logFile // where its accept or copy record lies; nil: only the checkpoint knows it
	store   *store   // whose file that is
	at      int64
	length  uint32
	batch   uint64
	entry   *entry // set when only the checkpoint knows it
	size    uint64
	arrival int64 // ns
	hurt    string
	draft   bool
	draftID envelope.ID
	sum     uint32

	status  []status
	left    int    // recipients that are not terminal
	touched uint64 // main batch of the last change
	foreign bool   // came as a copy of which no accept was seen
	alone   bool   // such a copy, in no checkpoint: merge counts it, once
	main    bool   // the main log or checkpoint knows it
	event   []uint8
}

// evLost marks a recipient that a "lost" event names.
const evLost = 255

// readMain is pass 3.
func (s *store) readMain() {
	if s.aside {
		return
	}
	crossed := s.ck == nil
	l := &logReader{s: s, sp: &s.main, what: "main log", apply: s.applyMain}
	l.before = func(number uint64) {
		if !crossed && number > s.ck.batch {
			crossed = true
			s.cross()
		}
	}
	l.run(s.segments)
	if !crossed {
		s.cross()
	}
}

// cross compares the log up to the checkpoint's batch with the checkpoint, and
// begins to count the ledger from there. Where they differ about what is live,
// the checkpoint is followed, as a starting node follows it.
func (s *store) cross() {
	rep := s.a.rep
	s.book = s.ck.book
	for _, m := range s.msgs {
		m.alone = false
	}
	for id, e := range s.ck.entries {
		m := s.msgs[id]
		if m == nil {
			m = &message{
				store: s, entry: e, tenant: e.tenant, kind: e.kind, size: e.size, arrival: int64(e.arrival),
				batch: s.ck.batch, touched: s.ck.batch, main: true,
			}
			s.msgs[id] = m
		} else if !sameStates(m.status, e.status) {
			rep.differ(id, e.tenant, "checkpoint and main log differ: "+states(e.status)+" and "+states(m.status))
		}
		m.status, m.left = e.status, open(e.status)
	}
	for id, m := range s.msgs {
		if m.left > 0 && s.ck.entries[id] == nil {
			rep.differ(id, m.tenant, "live by the main log, unknown to the checkpoint")
			delete(s.msgs, id)
		}
	}
	s.ck.entries = nil
}

func sameStates(a, b []status) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].state != b[i].state {
			return false
		}
	}
	return true
}

func states(list []status) string {
	out := ""
	for i, s := range list {
		if i == 8 {
			return out + " ..."
		}
		if i > 0 {
			out += " "
		}
		out += stateName(s.state)
	}
	return out
}

func open(list []status) int {
	n := 0
	for _, s := range list {
		if !terminal(s.state) {
			n++
		}
	}
	return n
}

func (s *store) applyMain(f *logFile, w *window, b batch, list []record, r record) {
	switch r.kind {
	case recContent:
		return
	case recAccept, recCopy, recMove, recFinish, recNote:
	default:
		s.a.rep.differ(r.id, "", fmt.Sprintf("record of type %s in the main log, batch %d", recordName(r.kind), b.number))
		return
	}
	c := over(r.body(w))
	switch r.kind {
	case recAccept, recCopy:
		m, ok := newMessage(s, f, w, b, list, r, c)
		if !ok {
			s.unread(f, b, r)
			return
		}
		s.take(r.id, m, r.kind == recCopy)
	case recNote:
		s.note(c)
	default:
		ch := readChange(c)
		if !c.ok {
			s.unread(f, b, r)
			return
		}
		s.change(r.id, ch, b.number)
	}
}

func (s *store) unread(f *logFile, b batch, r record) {
	s.a.rep.differ(r.id, "", fmt.Sprintf("%s: %s record at %d of batch %d does not read", f.rel, recordName(r.kind), r.at, b.number))
}

// newMessage reads an accept or copy record and looks at its content.
func newMessage(s *store, f *logFile, w *window, b batch, list []record, r record, c *cursor) (*message, bool) {
	acc := readAccept(c)
	m := &message{
		tenant: s.a.tenant(acc.tenant), kind: acc.kind, store: s, file: f, at: r.at, length: r.length, batch: b.number, touched: b.number,
		size: acc.size, arrival: acc.arrival.UnixNano(), draft: acc.draft, draftID: acc.draftID, sum: acc.draftSum,
		status: make([]status, len(acc.forward)),
	}
	if acc.arrival.IsZero() {
		m.arrival = 0
	}
	for i := range m.status {
		m.status[i].state = stateQueued
		if r.kind == recCopy {
			m.status[i] = readStatus(c)
		}
	}
	m.left = open(m.status)
	if !c.ok {
		return nil, false
	}
	if !acc.none && !acc.draft && !f.head.events {
		m.hurt = contentTrouble(list, r.at-int64(acc.inline), acc.size)
	}
	return m, true
}

// contentTrouble says what is wrong with the content record at at.
func contentTrouble(list []record, at int64, size uint64) string {
	for _, r := range list {
		switch {
		case r.at != at:
		case !r.good:
			return "the content's sum is wrong"
		case r.kind != recContent || uint64(r.length) != size+8:
			return "the content has another length than the envelope says"
		default:
			return ""
		}
	}
	return "the content is not where the envelope says"
}

// take brings an accept or copy into the index and the ledger.
func (s *store) take(id envelope.ID, m *message, isCopy bool) {
	m.main = true
	old := s.msgs[id]
	switch {
	case old != nil && isCopy:
		if len(old.status) == len(m.status) {
			m.status, m.left, m.touched = old.status, old.left, old.touched
		}
		m.foreign, m.alone = old.foreign, old.alone
	case old != nil:
		s.a.rep.differ(id, m.tenant, "accepted twice under one ID")
		return
	case isCopy:
		m.foreign, m.alone = true, true
	default:
		s.book.of(m.tenant).source(m.kind, int64(len(m.status)))
	}
	s.msgs[id] = m
}

func (s *store) change(id envelope.ID, ch changed, number uint64) {
	m := s.msgs[id]
	if m == nil {
		if number > s.event.through && terminal(ch.to) {
			if s.late[id] == nil {
				s.late[id] = map[uint64]bool{}
			}
			s.late[id][ch.recipient] = true
		}
		return
	}
	if ch.recipient >= uint64(len(m.status)) {
		s.a.rep.differ(id, m.tenant, fmt.Sprintf("change of recipient %d, but there are %d", ch.recipient, len(m.status)))
		return
	}
	st := &m.status[ch.recipient]
	m.touched = number
	if terminal(st.state) {
		if ch.to != st.state {
			s.a.rep.differ(id, m.tenant, fmt.Sprintf("recipient %d ended as %s and then changed to %s", ch.recipient, stateName(st.state), stateName(ch.to)))
		}
		return
	}
	st.state, st.next = ch.to, ch.next
	if terminal(ch.to) {
		m.left--
		if !m.alone {
			s.book.of(m.tenant).end(ch.to, 1)
		}
	}
}

// note reads what the log says of an adopted directory: its ledger without the
// messages that were live there, which count with their copies. Scars were
// read before.
func (s *store) note(c *cursor) {
	if c.octet() != 1 {
		return
	}
	inc := c.incarnation()
	if s.adopted[inc] {
		return
	}
	told := book{}
	readBook(c, told)
	if !c.ok {
		s.a.rep.differ(envelope.ID{}, "", "a note about an adopted directory does not read")
		return
	}
	s.adopted[inc] = true
	s.book.add(told)
}

func (b book) add(o book) {
	for tenant, v := range o {
		a := b.of(tenant)
		for i := range v.sources {
			a.sources[i] += v.sources[i]
			a.terminal[i] += v.terminal[i]
		}
		a.lost += v.lost
	}
}

// settleScars decides which damage the spool knows, and reports it.
func (s *store) settleScars() {
	segment := map[string]uint64{}
	for _, f := range s.segments {
		segment[f.rel] = f.number
	}
	for _, d := range s.pending {
		if n, ok := segment[d.File]; ok {
			for _, sc := range s.scars {
				d.Known = d.Known || d.Batch != 0 && d.Batch == sc.batch ||
					sc.segment == n && uint64(d.Offset) >= sc.offset && uint64(d.Offset) < sc.offset+max(sc.octets, 1)
			}
		}
		s.a.rep.damage(d)
	}
	s.pending = nil
}
