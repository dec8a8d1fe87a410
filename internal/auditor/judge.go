package auditor

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern-mail/postern/internal/envelope"
)

const (
	draftMissing = "missing"
	draftDamaged = "damaged"
	draftOrphan  = "orphan"
)

// shed is a note that old events were given up.
type shed struct{ last int64 }

// merge brings the directories together. One that another says it has adopted
// does not count any more; copies from one that stands here and was not yet
// adopted count there and not here.
func (a *audit) merge() {
	taken := map[envelope.Incarnation]bool{}
	for _, s := range a.stores {
		for inc := range s.adopted {
			taken[inc] = taken[inc] || inc != s.inc
		}
	}
	here := map[envelope.Incarnation]bool{}
	for _, s := range a.stores {
		s.counted = !s.aside && !taken[s.inc]
		if s.counted {
			here[s.inc] = true
		}
	}
	a.all, a.book = map[envelope.ID]*message{}, book{}
	for _, s := range a.stores {
		if !s.counted {
			continue
		}
		a.book.add(s.book)
		a.gather(s, here)
	}
	for _, m := range a.all {
		if m.alone {
			a.book.of(m.tenant).copied(m)
		}
	}
}

// copied counts a message of which only a copy is known, as it stands.
func (a *account) copied(m *message) {
	a.source(m.kind, int64(len(m.status)))
	for _, st := range m.status {
		if terminal(st.state) {
			a.end(st.state, 1)
		}
	}
}

func (a *audit) gather(s *store, here map[envelope.Incarnation]bool) {
	for id, m := range s.msgs {
		inc := id.Incarnation()
		if m.foreign && inc != s.inc && here[inc] && !s.adopted[inc] {
			continue
		}
		old := a.all[id]
		switch {
		case old == nil || old.foreign && (!m.foreign || s.adopted[inc]):
			a.all[id] = m
		case !m.foreign:
			a.rep.differ(id, m.tenant, "accepted in two directories: "+old.store.dir+" and "+s.dir)
		}
	}
	s.msgs = nil
}

// readEvents is pass 4: first the directories that were put aside, because
// what began there ends elsewhere.
func (a *audit) readEvents() {
	order := slices.Clone(a.stores)
	slices.SortStableFunc(order, func(x, y *store) int { return rank(x) - rank(y) })
	for _, s := range order {
		l := &logReader{s: s, sp: &s.event, what: "event log", events: true, apply: s.applyEvent}
		l.run(s.events)
	}
}

func rank(s *store) int {
	switch {
	case s.aside:
		return 0
	case !s.counted:
		return 1
	}
	return 2
}

func (s *store) applyEvent(f *logFile, w *window, b batch, list []record, r record) {
	s.a.rep.Counts.Events++
	if r.kind == recFilter || r.kind == recRefused {
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
		s.a.eventAccept(r.id, m)
	case recMove, recFinish:
		ch := readChange(c)
		if !c.ok {
			s.unread(f, b, r)
			return
		}
		s.a.eventChange(r.id, ch.recipient, ch.to)
	case recLost:
		v := c.octet()
		c.time()
		recipient := c.uvarint()
		if c.skipStr(); !c.ok || v != 1 {
			s.unread(f, b, r)
			return
		}
		s.a.eventLost(r.id, recipient)
	case recNote:
		if c.octet() == 3 {
			c.uint64()
			c.uint64()
			if last := c.uint64(); c.ok {
				s.a.sheds = append(s.a.sheds, shed{int64(last)})
			}
		}
	default:
		s.a.rep.differ(r.id, "", fmt.Sprintf("%s: record of type %s in batch %d", f.rel, recordName(r.kind), b.number))
	}
}

func (a *audit) eventAccept(id envelope.ID, m *message) {
	old := a.all[id]
	if old == nil {
		old = m
		a.all[id] = m
	}
	if old.event != nil {
		return
	}
	old.event = make([]uint8, len(m.status))
	for i, st := range m.status {
		old.event[i] = st.state
	}
	if old.entry != nil { // the checkpoint knows no addresses
		old.file, old.store, old.at, old.length = m.file, m.store, m.at, m.length
	}
}

func (a *audit) eventChange(id envelope.ID, recipient uint64, to uint8) {
	m := a.all[id]
	if m == nil || m.event == nil {
		return
	}
	if recipient >= uint64(len(m.event)) {
		a.rep.differ(id, m.tenant, fmt.Sprintf("event for recipient %d, but there are %d", recipient, len(m.event)))
		return
	}
	m.event[recipient] = to
	a.forget(id, m)
}

func (a *audit) eventLost(id envelope.ID, recipient uint64) {
	m := a.all[id]
	if m == nil {
		return
	}
	for i := range m.event {
		if recipient == 0 || uint64(i) == recipient-1 {
			m.event[i] = evLost
		}
	}
	a.forget(id, m)
}

// forget drops a message that only the event log knows once it has ended.
func (a *audit) forget(id envelope.ID, m *message) {
	if m.main {
		return
	}
	for _, st := range m.event {
		if !terminal(st) && st != evLost {
			return
		}
	}
	delete(a.all, id)
}

// judge compares, message by message, in the order of their IDs.
func (a *audit) judge() {
	ids := slices.SortedFunc(maps.Keys(a.all), func(x, y envelope.ID) int { return bytes.Compare(x[:], y[:]) })
	for _, id := range ids {
		m := a.all[id]
		if m.main {
			a.compare(id, m)
		}
		if lost := a.lostOf(id, m); len(lost) == 0 {
			if m.entry != nil || !m.main {
				m.left = 0 // nothing of it is live
			}
		}
	}
}

// lostOf returns the recipients of m that were accepted and are neither
// terminal nor live, nor named as lost by the spool.
func (a *audit) lostOf(id envelope.ID, m *message) []int {
	if m.main && m.entry == nil {
		return nil
	}
	var lost []int
	for i := range m.status {
		known := i < len(m.event) && m.event[i] == evLost
		ended := terminal(m.status[i].state)
		if !m.main {
			ended = terminal(m.event[i]) || a.endedLate(id, uint64(i))
		}
		if !known && !ended {
			lost = append(lost, i)
		}
	}
	return lost
}

func (a *audit) endedLate(id envelope.ID, recipient uint64) bool {
	for _, s := range a.stores {
		if s.late[id][recipient] {
			return true
		}
	}
	return false
}

// compare holds the main log's message against the event log's.
func (a *audit) compare(id envelope.ID, m *message) {
	through := m.store.event.through
	if m.event == nil {
		if m.batch <= through && !a.excused(id, m) {
			a.rep.differ(id, m.tenant, "in the main log, but its accept is not in the event log")
		}
		return
	}
	if m.touched > through {
		return
	}
	var what []string
	for i := range min(len(m.event), len(m.status)) {
		if ev, st := m.event[i], m.status[i].state; ev != st && (ev != evLost || m.entry == nil) {
			what = append(what, fmt.Sprintf("recipient %d is %s by the main log and %s by the event log", i, stateName(st), eventName(ev)))
		}
	}
	if len(m.event) != len(m.status) {
		what = append(what, fmt.Sprintf("%d recipients in the main log and %d in the event log", len(m.status), len(m.event)))
	}
	if len(what) > 0 {
		a.rep.differ(id, m.tenant, strings.Join(what[:min(len(what), 4)], "; "))
	}
}

func eventName(s uint8) string {
	if s == evLost {
		return "lost"
	}
	return stateName(s)
}

// excused reports whether the event log need not know m any more: its part was
// shed, or went with an adopted directory.
func (a *audit) excused(id envelope.ID, m *message) bool {
	for _, sh := range a.sheds {
		if m.arrival <= sh.last {
			return true
		}
	}
	known := false
	for _, s := range a.stores {
		if s.inc != id.Incarnation() {
			continue
		}
		known = true
		if len(s.events) > 0 && s.events[0].number > 1 && m.arrival <= int64(s.events[0].head.time) {
			return true
		}
	}
	return !known
}

// live reports whether m has recipients that wait in the main log.
func (m *message) live() bool { return m.main && m.entry == nil && m.left > 0 }
