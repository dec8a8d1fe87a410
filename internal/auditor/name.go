package auditor

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
)

// checkDrafts is pass 5.
func (a *audit) checkDrafts() {
	used := map[string]bool{}
	for id, m := range a.all {
		if !m.live() || !m.draft {
			continue
		}
		rel, ok := a.draftOf(m)
		if !ok {
			m.hurt = "its draft file is missing"
			a.rep.draft(Draft{File: m.store.dir + "/draft-" + m.draftID.String(), ID: id, What: draftMissing})
			continue
		}
		used[rel] = true
		if !a.draftGood(m.store, rel, m.sum) {
			m.hurt = "its draft file is damaged"
			a.rep.draft(Draft{File: rel, ID: id, What: draftDamaged})
		}
	}
	for _, s := range a.stores {
		if !s.counted {
			continue
		}
		for _, rel := range s.drafts {
			if !used[rel] {
				a.rep.draft(Draft{File: rel, What: draftOrphan})
			}
		}
	}
	slices.SortFunc(a.rep.Drafts, func(x, y Draft) int {
		return strings.Compare(x.File+x.What+x.ID.String(), y.File+y.What+y.ID.String())
	})
}

// draftOf finds the draft that m names. While a directory is being adopted its
// drafts move, so that each may lie in either.
func (a *audit) draftOf(m *message) (string, bool) {
	if rel, ok := m.store.drafts[m.draftID]; ok {
		return rel, true
	}
	for _, s := range a.stores {
		if rel, ok := s.drafts[m.draftID]; ok {
			return rel, true
		}
	}
	return "", false
}

func (a *audit) draftGood(s *store, rel string, want uint32) bool {
	if a.ctx.Err() != nil {
		return true
	}
	w, err := s.open(rel)
	if err != nil {
		return false
	}
	defer w.close()
	sum, ok := w.crc(0, 0, w.size)
	return ok && sum == want
}

// name is pass 6: it reads the accept records of what is reported once more.
func (a *audit) name() {
	var ids []envelope.ID
	for id, m := range a.all {
		if m.left > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y envelope.ID) int {
		mx, my := a.all[x], a.all[y]
		if c := strings.Compare(mx.place(), my.place()); c != 0 {
			return c
		}
		return int(min(max(mx.at-my.at, -1), 1))
	})
	var w *window
	var open string
	for _, id := range ids {
		m := a.all[id]
		if p := m.place(); p != open {
			if w != nil {
				w.close()
			}
			w, open = nil, p
			if m.file != nil {
				w, _ = m.store.open(m.file.rel) // unreadable now: reported without addresses
			}
		}
		a.report(id, m, w)
	}
	if w != nil {
		w.close()
	}
	byID := func(x, y Message) int { return bytes.Compare(x.ID[:], y.ID[:]) }
	slices.SortFunc(a.rep.Live, byID)
	slices.SortFunc(a.rep.Lost, byID)
}

func (m *message) place() string {
	if m.file == nil {
		return ""
	}
	return m.file.rel
}

func (a *audit) report(id envelope.ID, m *message, w *window) {
	out := Message{ID: id, Tenant: m.tenant, Kind: kindName(m.kind), Octets: int64(m.size), Arrival: at(m.arrival), Why: m.hurt}
	out.Where = "checkpoint"
	if m.file != nil {
		out.Where = fmt.Sprintf("%s at %d", m.file.rel, m.at)
	}
	var forward []string
	if w != nil {
		r := record{at: m.at, length: m.length}
		if c := over(r.body(w)); c != nil {
			acc := readAccept(c)
			out.Reverse, forward = acc.reverse, acc.forward
		}
	}
	indexes := a.lostOf(id, m)
	if m.live() {
		indexes = indexes[:0]
		for i := range m.status {
			indexes = append(indexes, i)
		}
	}
	for _, i := range indexes {
		out.Recipients = append(out.Recipients, m.recipient(i, forward))
	}
	switch {
	case m.live():
		a.rep.live(out)
	case m.main:
		out.Why = fmt.Sprintf("live by the checkpoint (segment %d at %d), but its accept is not in the main log", m.entry.segment, m.entry.offset)
		a.rep.lost(out)
	default:
		out.Why = "accepted by the event log, neither terminal there nor in the main log"
		a.rep.lost(out)
	}
}

func at(ns int64) time.Time { return atTime(uint64(ns)) }

func (m *message) recipient(i int, forward []string) Recipient {
	st := m.status[i]
	if !m.main {
		st = status{state: m.event[i]}
	}
	r := Recipient{Index: i, State: stateName(st.state)}
	if st.state == stateQueued {
		r.NextAttempt = at(st.next)
	}
	switch {
	case i < len(forward):
		r.Path = forward[i]
	case m.entry != nil && i < len(m.entry.domains):
		r.Path = "@" + m.entry.domains[i]
	}
	return r
}

// finish closes the ledger and says whether all is well.
func (a *audit) finish() {
	held := map[string]int64{}
	for _, m := range a.all {
		if m.live() {
			held[m.tenant] += int64(m.left)
		}
	}
	for tenant := range held {
		a.book.of(tenant)
	}
	for _, tenant := range slices.Sorted(maps.Keys(a.book)) {
		a.rep.Ledger = append(a.rep.Ledger, a.book[tenant].line(tenant, held[tenant]))
	}
	for _, s := range a.stores {
		s.settleScars()
		a.rep.Incarnations = append(a.rep.Incarnations, s.describe())
		if s.counted {
			a.rep.Restarted = a.rep.Restarted || s.restarted || s.ck != nil && s.ck.restarted
			if s.ck != nil && (a.rep.Since.IsZero() || at(int64(s.ck.since)).Before(a.rep.Since)) {
				a.rep.Since = at(int64(s.ck.since))
			}
		}
	}
	a.rep.Sound = a.rep.sound()
}

func (a *account) line(tenant string, held int64) Tenant {
	t := Tenant{Tenant: tenant, Sources: map[string]int64{}, Terminal: map[string]int64{}, Held: held, Lost: a.lost, Missing: -held - a.lost}
	for i, n := range a.sources {
		t.Missing += n
		if n != 0 {
			t.Sources[kindNames[i]] = n
		}
	}
	for i, n := range a.terminal {
		t.Missing -= n
		if n != 0 {
			t.Terminal[stateNames[i+terminalFirst]] = n
		}
	}
	return t
}

func (s *store) describe() Incarnation {
	i := Incarnation{
		Name: s.inc.String(), Dir: s.dir, Adopted: s.aside || !s.counted, Segments: len(s.segments), EventFiles: len(s.events),
		Synced: s.main.synced, Batch: s.main.last, Through: s.event.through,
	}
	if s.ck != nil {
		i.Checkpoint = s.ck.number
	}
	return i
}
