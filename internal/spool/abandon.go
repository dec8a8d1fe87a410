package spool

import (
	"fmt"
	"time"
)

// fail is what happens when the head can't be trusted any more: a write or a
// sync failed. b, the batch at hand, may be nil.
//
// The head is abandoned: nothing in it beyond the last good sync counts. All
// changes that are visible already, and those of b, go to a new segment, whose
// first batch says so (base, first), before anyone hears of the failure.
func (s *Spool) fail(b *batch, err error) {
	c := &s.commit
	err = ioError(err)
	s.cfg.Logger.Error("spool segment abandoned", "error", err.Error(), "segment", s.headName(), "synced", s.synced.Load())
	s.stats.abandoned.Add(1)
	nb := s.salvage(b)
	if c.head != nil {
		s.sealSegment(c.head)
		c.head.doomed = true
		c.head, c.off = nil, 0
	}
	c.base = s.synced.Load()
	c.dirtySince = time.Time{}
	lazyErr := s.retry(nb)
	if b != nil {
		b.err, b.lazyErr = err, lazyErr
		s.release(b)
	}
	if lazyErr != nil {
		s.keepCarry(nb)
		s.breakOff(lazyErr)
		return
	}
	s.handOver()
}

func (s *Spool) headName() string {
	if s.commit.head == nil {
		return "none"
	}
	return s.commit.head.name
}

// salvage copies the changes of all batches that were written and not synced,
// and of b, into a new batch, in their order.
func (s *Spool) salvage(b *batch) *batch {
	c := &s.commit
	nb := newBatch()
	nb.waiting = 1 // it is synced
	old := c.unsynced
	if n := len(old); b != nil && (n == 0 || old[n-1] != b) {
		old = append(old, b)
	}
	for _, o := range old {
		nb.takeLazies(o)
	}
	c.unsynced = c.unsynced[:0]
	return nb
}

// takeLazies copies the records of Apply and of copying forward.
func (b *batch) takeLazies(from *batch) {
	for i := range from.ops {
		o := from.ops[i]
		if !o.lazy {
			continue
		}
		rec := from.buf[o.start:o.end]
		var h recordHeader
		h.decode(rec)
		start, end := b.add(h.typ, flagGroup, h.id, rec[recordOctets:])
		o.start, o.end = uint32(start), uint32(end)
		b.ops = append(b.ops, o)
	}
}

// retry writes and syncs nb in a new segment.
func (s *Spool) retry(nb *batch) error {
	err := s.put(nb)
	if err == nil {
		err = s.syncHead(forAccept)
	}
	if err != nil {
		return ioError(err)
	}
	s.visible(nb)
	return nil
}

// keepCarry keeps the changes that callers have seen done; the others' callers
// are told, and try again.
func (s *Spool) keepCarry(nb *batch) {
	c := &s.commit
	if c.head != nil {
		s.sealSegment(c.head)
		c.head.doomed = true
		c.head, c.off = nil, 0
	}
	c.unsynced = c.unsynced[:0]
	c.dirtySince = time.Time{}
	keep := newBatch()
	keep.waiting = 1
	for i := range nb.ops {
		nb.ops[i].lazy = nb.ops[i].applied
	}
	keep.takeLazies(nb)
	c.carry = keep
}

// writeCarry tries again to write what was kept.
func (s *Spool) writeCarry() error {
	c := &s.commit
	nb := c.carry
	fresh := newBatch()
	fresh.waiting = 1
	fresh.takeLazies(nb)
	c.carry = nil
	if err := s.retry(fresh); err != nil {
		s.keepCarry(fresh)
		s.breakOff(err)
		return fmt.Errorf("write again %d changes: %w", len(nb.ops), err)
	}
	s.mend()
	s.handOver()
	return nil
}

// breakOff refuses at once for a while: each try costs a segment.
func (s *Spool) breakOff(err error) {
	c := &s.commit
	c.backoff = min(max(2*c.backoff, 50*time.Millisecond), time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.brokenUntil = err, time.Now().Add(c.backoff)
}

func (s *Spool) mend() {
	s.commit.backoff = 0
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = nil
}

// settleAll is the committer's last act: what it holds is written or, when the
// disk does not take it, named.
func (s *Spool) settleAll() {
	c := &s.commit
	if c.carry != nil {
		if err := s.writeCarry(); err != nil {
			s.cfg.Logger.Error("spool closes with changes that are not on the disk: they will be tried again", "error", err.Error())
			return
		}
	}
	s.syncOrFail(forFinish)
	if !c.sealAt.IsZero() {
		s.write(newBatch())
	}
}
