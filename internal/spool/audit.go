package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
)

// Audit reads all segments as if there were no checkpoint, and the whole event
// log, and compares what they tell with the index and the ledger. It names
// every difference. Mail goes on meanwhile; what differs only because it
// moved during the audit is looked at again. It needs memory for a second
// index.
func (s *Spool) Audit(ctx context.Context) (*AuditReport, error) {
	began := time.Now()
	a := &auditing{s: s, rep: &AuditReport{Time: s.cfg.Clock()}, named: map[envelope.ID]bool{}}
	if err := s.barrier(ctx); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := s.events.flush(); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := a.segments(ctx); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := a.eventLog(ctx); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := a.tell(ctx); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	a.ledger()
	for i := range a.rep.Findings {
		s.stats.finding(a.rep.Findings[i].Kind)
	}
	a.rep.Duration = time.Since(began)
	return a.rep, nil
}

type auditing struct {
	s     *Spool
	rep   *AuditReport
	l     *loader
	named map[envelope.ID]bool
	open  map[envelope.ID]*story // by the event log, not ended
	shed  bool                   // the event log does not begin at the beginning
}

func (a *auditing) find(f Finding) {
	a.rep.Findings = append(a.rep.Findings, f)
	if !f.ID.IsZero() {
		a.named[f.ID] = true
	}
}

// segments counts again from the files as their names lead to them now.
func (a *auditing) segments(ctx context.Context) error {
	s := a.s
	pinned := s.pinAll()
	defer unpinAll(pinned)
	l := newLoader(s.fs, s.dir, s.incarnation, s.weakSums)
	defer func() { _ = l.close() }() // read only
	for _, seg := range pinned {
		if !seg.bad {
			if _, err := s.fs.Stat(seg.name); errors.Is(err, fs.ErrNotExist) {
				a.find(Finding{
					Kind: MissingSegment, Recipient: -1, Segment: seg.number, Batch: seg.last,
					Holder: path.Base(seg.name), Detail: "the file is gone",
				})
			}
		}
	}
	for n, sr := range s.keep.scars {
		l.scars[n] = sr
	}
	l.synced = s.synced.Load()
	if err := l.load(ctx, false); err != nil {
		return err
	}
	a.l = l
	a.rep.Batches, a.rep.Octets, a.rep.Known = l.batches, l.octets, l.known
	for i := range l.findings {
		f := l.findings[i]
		ended := f.Kind == MissingDraft && !s.isLive(f.ID) // meanwhile, and its draft is removed
		if f.Kind != Torn && !ended && !a.repeats(&f) {
			a.find(f)
		}
	}
	return a.compare(ctx)
}

// repeats: recovery has said so, or the missing file was named above.
func (a *auditing) repeats(f *Finding) bool {
	if f.Kind != MissingSegment {
		return false
	}
	return slices.ContainsFunc(a.rep.Findings, func(g Finding) bool { return g.Kind == MissingSegment && g.Segment == f.Segment })
}

func (s *Spool) pinAll() []*segment {
	s.segMu.RLock()
	defer s.segMu.RUnlock()
	var list []*segment
	for _, seg := range s.segs {
		seg.pins.Add(1)
		list = append(list, seg)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].number < list[j].number })
	return list
}

func unpinAll(list []*segment) {
	for _, seg := range list {
		seg.pins.Add(-1)
	}
}

// auditRounds is how often what differs is looked at again, each time with
// the batches written since. Chosen: a message that differs five times while
// each change is read again differs.
const auditRounds = 5

// compare compares the recount with the index.
func (a *auditing) compare(ctx context.Context) error {
	suspects := a.suspects()
	for range auditRounds {
		if len(suspects) == 0 {
			return nil
		}
		if err := a.catchUp(ctx); err != nil {
			return err
		}
		suspects = slices.DeleteFunc(suspects, func(id envelope.ID) bool { return a.difference(id) == "" })
	}
	for _, id := range suspects {
		a.differs(id, a.difference(id))
	}
	return nil
}

// suspects are the IDs that are not the same in both. One stripe after the
// other is locked, so that nothing waits long.
func (a *auditing) suspects() []envelope.ID {
	var list []envelope.ID
	for i := range stripes {
		a.s.idx.mu.RLock()
		for id := range a.s.idx.stripes[i].m {
			if a.differenceLocked(id) != "" {
				list = append(list, id)
			}
			a.rep.Live++
		}
		for id := range a.l.idx.stripes[i].m {
			if _, ok := a.s.idx.get(id); !ok {
				list = append(list, id)
			}
		}
		a.s.idx.mu.RUnlock()
	}
	return list
}

func (a *auditing) difference(id envelope.ID) string {
	a.s.idx.mu.RLock()
	defer a.s.idx.mu.RUnlock()
	return a.differenceLocked(id)
}

func (a *auditing) differenceLocked(id envelope.ID) string {
	e, live := a.s.idx.get(id)
	g, there := a.l.idx.get(id)
	switch {
	case live && !there:
		return fmt.Sprintf("live, and its accept is not in segment-%08d any more", e.segment)
	case !live && there:
		return "ended, and the segments say it is live"
	case !live:
		return ""
	}
	mine, theirs := a.s.idx.recipients(id, &e), a.l.idx.recipients(id, &g)
	if len(mine) != len(theirs) {
		return "another number of recipients"
	}
	for i := range mine {
		if m, t := mine[i], theirs[i]; m.state != t.state && !(m.state == envelope.Held && t.state == envelope.Queued && e.flags&entryDoubt != 0) {
			return fmt.Sprintf("recipient %d is in state %d, in the segments %d", i, m.state, t.state)
		}
	}
	return ""
}

// differs names one difference, unless the damage that explains it was named.
func (a *auditing) differs(id envelope.ID, why string) {
	if a.named[id] {
		return
	}
	a.s.idx.mu.RLock()
	e, live := a.s.idx.get(id)
	a.s.idx.mu.RUnlock()
	_, there := a.l.idx.get(id)
	f := Finding{Kind: StateDiffers, ID: id, Recipient: -1, Detail: why}
	if live {
		f.Segment, f.Offset, f.Batch = uint64(e.segment), int64(e.offset), e.batch
		f.Holder, f.Time = fmt.Sprintf("segment-%08d", e.segment), fromNanos(e.arrival)
	}
	if live && !there {
		f.Kind = LostMessage
	}
	a.find(f)
}

// catchUp replays what was written since.
func (a *auditing) catchUp(ctx context.Context) error {
	if err := a.s.barrier(ctx); err != nil {
		return err
	}
	return a.s.readLog(ctx, a.l.reached, a.s.synced.Load(), func(seg *segment, v *view) error {
		a.l.synced = max(a.l.synced, a.s.synced.Load())
		a.l.replayBatch(seg.number, v)
		return nil
	})
}

// eventLog follows every message through the event log.
func (a *auditing) eventLog(ctx context.Context) error {
	if err := a.s.events.flush(); err != nil {
		return err
	}
	a.open = map[envelope.ID]*story{}
	err := a.s.events.each(ctx, a.s.events.list(), nil, func(r *recordView, _ uint64) bool {
		a.rep.Events++
		a.follow(r)
		return true
	})
	if err != nil {
		return err
	}
	a.shed = a.shed || a.s.stats.shed.Load() > 0
	return a.compareEvents(ctx)
}

func (a *auditing) follow(r *recordView) {
	if r.typ == recNote {
		a.shed = true
	}
	st := a.open[r.id]
	if st == nil {
		if r.typ != recAccept {
			return
		}
		st = &story{terminal: map[int]envelope.State{}}
		a.open[r.id] = st
	}
	st.add(r)
	if st.ended() || st.lost {
		delete(a.open, r.id)
	}
}

// compareEvents: what was accepted and has not ended must be live, and what is
// live must have been accepted.
func (a *auditing) compareEvents(ctx context.Context) error {
	gone := map[envelope.ID]bool{}
	for id := range a.open {
		if !a.s.isLive(id) {
			gone[id] = true
		}
	}
	unheard := map[envelope.ID]bool{}
	a.s.Live(func(e Entry) bool {
		if _, ok := a.open[e.ID]; !ok && e.ID.Incarnation() == a.s.incarnation {
			unheard[e.ID] = true
		}
		return true
	})
	if len(gone)+len(unheard) == 0 {
		return nil
	}
	if err := a.s.barrier(ctx); err != nil {
		return err
	}
	if err := a.s.events.flush(); err != nil {
		return err
	}
	wanted := map[envelope.ID]bool{}
	for id := range gone {
		wanted[id] = true
	}
	for id := range unheard {
		wanted[id] = true
	}
	told, err := a.s.events.tellAbout(ctx, wanted, nil)
	if err != nil {
		return err
	}
	for id := range wanted {
		a.judge(id, gone[id], told[id])
	}
	return nil
}

func (a *auditing) judge(id envelope.ID, gone bool, st *story) {
	live := a.s.isLive(id)
	switch {
	case gone && !live && st != nil && !st.ended() && !st.lost:
		for i := range st.env.Forward {
			if _, ended := st.terminal[i]; !ended {
				f := named(Finding{
					Kind: LostMessage, Recipient: i, Holder: st.holder, Time: st.when,
					Detail: fmt.Sprintf("recipient %d was accepted, has not ended and is not live", i),
				}, st.env)
				a.find(f)
			}
		}
	case !gone && live && (st == nil || st.env == nil) && !a.shed:
		a.find(Finding{Kind: NotInEvents, ID: id, Recipient: -1, Detail: "live, and the event log has never heard of it"})
	}
}

// tell fills in who is concerned: from the log, or from the event log.
func (a *auditing) tell(ctx context.Context) error {
	wanted := map[envelope.ID]bool{}
	for i := range a.rep.Findings {
		if f := &a.rep.Findings[i]; !f.ID.IsZero() && f.Forward == nil {
			wanted[f.ID] = true
		}
	}
	if len(wanted)+len(a.l.missing) == 0 {
		return nil
	}
	told, err := a.s.events.tellAbout(ctx, wanted, nil)
	if err != nil {
		return err
	}
	rec := Recovery{Findings: a.rep.Findings}
	a.s.fillIn(&rec, told)
	a.rep.Findings = rec.Findings
	return nil
}

// ledger checks that it balances, and what lives against the entries.
func (a *auditing) ledger() {
	a.rep.Ledger = a.s.Ledger()
	s := a.s
	s.idx.mu.RLock()
	defer s.idx.mu.RUnlock()
	counted := make([]TenantLedger, len(s.idx.ledger))
	for i := range s.idx.stripes {
		for id, e := range s.idx.stripes[i].m {
			for _, r := range s.idx.recipients(id, &e) {
				counted[e.tenant].count(r.state, 1)
			}
		}
	}
	for i := range s.idx.ledger {
		l := &s.idx.ledger[i]
		name := s.idx.tenants.name(uint32(i))
		if d := l.Difference(); d != 0 {
			a.find(Finding{Kind: LedgerDiffers, Recipient: -1, Tenant: name, Detail: fmt.Sprintf("sources less what became of them: %d", d)})
		}
		if c := &counted[i]; c.Live != l.Live || c.Held != l.Held {
			a.find(Finding{
				Kind: LedgerDiffers, Recipient: -1, Tenant: name,
				Detail: fmt.Sprintf("live %d and held %d, by the entries %d and %d", l.Live, l.Held, c.Live, c.Held),
			})
		}
	}
}
