package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/postern-mail/postern/internal/telemetry"
)

// sealDelay is how long after the last sync of accepted mail an empty batch is
// written, when nothing else was: it bears the mark that tells damage from a
// torn tail. Chosen.
const sealDelay = 250 * time.Millisecond

// reserve is how many IDs are drawn ahead of the mark on the disk.
const reserve = 1 << 24

// reason says what a sync was for.
type reason int

const (
	forAccept reason = iota
	forFinish
	forCheckpoint
	forEvent
	reasons
)

var reasonNames = [reasons]string{"accept", "finish", "checkpoint", "event"}

// committed is the committer's own state: no other goroutine touches it.
type committer struct {
	head       *segment
	off        int64  // where the next batch goes
	base       uint64 // last batch that counts before the head's first
	first      uint64 // the head's first batch
	last       uint64 // last batch written
	unsynced   []*batch
	dirtySince time.Time // zero: everything written is synced
	wanted     bool      // the next segment was asked for
	sealAt     time.Time // zero: no seal is due
	carry      *batch    // changes that are visible and lost their segment
	gather     gatherer
	timer      *time.Timer
	backoff    time.Duration
}

// runCommitter is the one goroutine that writes the main log.
func (s *Spool) runCommitter() {
	defer s.group.Done()
	defer close(s.prepareStop)
	c := &s.commit
	c.timer = time.NewTimer(time.Hour)
	defer c.timer.Stop()
	for {
		b, more := s.next()
		if b != nil {
			s.write(b)
		}
		s.chores()
		if !more {
			s.settleAll()
			return
		}
	}
}

// next waits for a batch, or until a chore is due, and takes it. more is false
// when the spool closes and nothing is left.
func (s *Spool) next() (b *batch, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.full) == 0 && s.open.empty() {
		if s.closed {
			return nil, false
		}
		if d := s.untilChore(); d > 0 {
			s.idle = true
			s.sleep(d)
			s.idle = false
		}
	}
	if len(s.full) == 0 && s.open.waiting > 0 {
		s.gatherMore()
	}
	if len(s.full) > 0 {
		b = s.full[0]
		s.full = append(s.full[:0], s.full[1:]...)
		s.inflight = b
		return b, true
	}
	if s.open.empty() {
		return nil, true
	}
	b, s.open = s.open, newBatch()
	s.inflight = b
	return b, true
}

// sleep gives s.mu back until someone wakes the committer or d passed.
func (s *Spool) sleep(d time.Duration) {
	s.mu.Unlock()
	s.commit.timer.Reset(d)
	select {
	case <-s.kick:
	case <-s.commit.timer.C:
	}
	s.mu.Lock()
}

// gatherMore lets drafts that are about to be committed join the batch.
func (s *Spool) gatherMore() {
	g := &s.commit.gather
	before := s.open.waiting
	target := g.target(int(s.active.Load()))
	if target <= before {
		return
	}
	began := time.Now()
	bound := g.bound()
	for !s.closed && len(s.full) == 0 && s.open.waiting < target {
		left := bound - time.Since(began)
		if left <= 0 {
			break
		}
		s.wakeAt = target
		s.sleep(left)
	}
	s.wakeAt = 0
	g.waited(s.open.waiting - before)
	s.stats.gathers.Add(1)
}

// untilChore is the time until chores has something to do.
func (s *Spool) untilChore() time.Duration {
	c := &s.commit
	d := time.Hour
	if s.broken != nil {
		d = time.Until(s.brokenUntil)
	}
	if s.broken == nil && (s.checkpointWanted.Load() || s.limitLow()) {
		return 0
	}
	if !c.dirtySince.IsZero() {
		d = min(d, s.cfg.FinishSyncDelay-time.Since(c.dirtySince))
	}
	if !c.sealAt.IsZero() {
		d = min(d, time.Until(c.sealAt))
	}
	return d
}

func (s *Spool) limitLow() bool { return s.seq.Load()+reserve/2 > s.limit.Load() }

// chores does what is due besides batches.
func (s *Spool) chores() {
	c := &s.commit
	if c.carry != nil && time.Now().After(s.brokenUntil) {
		s.writeCarry()
	}
	if !c.dirtySince.IsZero() && time.Since(c.dirtySince) >= s.cfg.FinishSyncDelay {
		s.syncOrFail(forFinish)
	}
	if s.limitLow() && s.brokenNow() == nil {
		b := newBatch()
		b.waiting = 1
		s.write(b)
	}
	if !c.sealAt.IsZero() && !time.Now().Before(c.sealAt) {
		c.sealAt = time.Time{}
		s.write(newBatch())
	}
	if s.brokenNow() == nil && s.checkpointWanted.CompareAndSwap(true, false) {
		s.startSnapshot()
	}
}

func (s *Spool) brokenNow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil && time.Now().Before(s.brokenUntil) {
		return s.broken
	}
	return nil
}

// write makes one batch durable, or tells its waiters why not.
func (s *Spool) write(b *batch) {
	if telemetry.Weakened(telemetry.AckBeforeWrite) {
		s.release(b)
	}
	if s.commit.carry != nil {
		if err := s.writeCarry(); err != nil {
			s.refuse(b, err)
			return
		}
	}
	err := s.put(b)
	if errors.Is(err, errNoSegment) {
		s.refuse(b, err)
		return
	}
	if err == nil && b.waiting == 0 {
		s.visible(b)
		s.release(b)
		return
	}
	if err == nil && telemetry.Weakened(telemetry.AckBeforeSync) {
		s.visible(b)
		s.release(b)
	}
	if err == nil {
		err = s.syncHead(forAccept)
	}
	if err != nil {
		s.fail(b, err)
		return
	}
	s.visible(b)
	s.commit.sealAt = time.Now().Add(sealDelay)
	telemetry.FailPoint("spool.batch.before-wake")
	s.release(b)
	s.handOver()
}

// release wakes everyone who waits for b.
func (s *Spool) release(b *batch) {
	if !b.released {
		b.released = true
		s.mu.Lock()
		s.inflight = nil
		s.mu.Unlock()
		close(b.done)
	}
}

// refuse tells b's waiters that there is no segment to write to. Its changes
// are small, and may have the ballast: they are tried again by themselves.
func (s *Spool) refuse(b *batch, err error) {
	b.err, b.lazyErr = ioError(err), ioError(err)
	if b.lazies > 0 && b.accepts && s.commit.head != nil {
		nb := newBatch()
		nb.takeLazies(b)
		if s.put(nb) == nil {
			s.visible(nb)
			b.lazyErr = nil
		}
	}
	s.release(b)
}

// put writes b behind the last batch, in a new segment when it does not fit.
func (s *Spool) put(b *batch) error {
	c := &s.commit
	if c.head == nil || c.off+int64(b.sealed()) > s.cfg.SegmentOctets {
		if err := s.roll(!b.accepts); err != nil {
			return err
		}
	}
	e := edge{
		seed: c.head.seed, number: c.last + 1, synced: s.synced.Load(), base: c.base, first: c.first,
		limit: s.nextLimit(), time: nanos(s.cfg.Clock()), offset: uint32(c.off),
	}
	if b.waiting > 0 {
		e.flags = flagWaited
	}
	b.number, b.offset = e.number, c.off
	b.seal(&e, s.weakSums)
	telemetry.FailPoint("spool.batch.before-write")
	if err := s.writeSealed(c.head, b); err != nil {
		c.last = e.number // a part of it may lie on the disk: its number must lie between base and first
		return fmt.Errorf("write %s at %d: %w", c.head.name, b.offset, err)
	}
	c.last = e.number
	s.written.Store(e.number)
	c.off += int64(len(b.buf))
	c.head.last = e.number
	s.headLeft.Store(s.cfg.SegmentOctets - c.off)
	if c.off > s.cfg.SegmentOctets/4 { // a node that does little never fills a second one with zero octets
		s.wantSegment()
	}
	s.stats.batch(b)
	c.unsynced = append(c.unsynced, b)
	if c.dirtySince.IsZero() && (b.records > 0 || b.waiting > 0) {
		c.dirtySince = time.Now()
	}
	c.sealAt = time.Time{}
	return nil
}

// writeSealed is one write; in a drill build two, with a fail point between.
func (s *Spool) writeSealed(seg *segment, b *batch) error {
	at := 0
	if telemetry.DrillBuild {
		at = len(b.buf) / 2
		if _, err := seg.file.WriteAt(b.buf[:at], b.offset); err != nil {
			return err
		}
		telemetry.FailPoint("spool.batch.half-written")
	}
	_, err := seg.file.WriteAt(b.buf[at:], b.offset+int64(at))
	return err
}

// nextLimit is the mark that the next batch bears. It holds for NextID once
// the batch is synced.
func (s *Spool) nextLimit() uint64 {
	if s.limitLow() {
		s.commitLimit = s.seq.Load() + reserve
	}
	return s.commitLimit
}

// syncHead syncs all that was written.
func (s *Spool) syncHead(why reason) error {
	c := &s.commit
	if c.head == nil || c.last == s.synced.Load() {
		return nil
	}
	telemetry.FailPoint("spool.batch.before-sync")
	began := time.Now()
	if err := c.head.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", c.head.name, err)
	}
	took := time.Since(began)
	telemetry.FailPoint("spool.batch.after-sync")
	c.gather.synced(took)
	s.stats.sync(why, took)
	s.synced.Store(c.last)
	s.limit.Store(s.commitLimit)
	c.dirtySince = time.Time{}
	return nil
}

// syncOrFail is for syncs that no one waits for.
func (s *Spool) syncOrFail(why reason) {
	if err := s.syncHead(why); err != nil {
		s.fail(nil, err)
		return
	}
	s.handOver()
}

// handOver gives what is synced to the event writer and the memory back.
func (s *Spool) handOver() {
	c := &s.commit
	for i, b := range c.unsynced {
		s.events.take(b)
		b.recycle()
		c.unsynced[i] = nil
	}
	c.unsynced = c.unsynced[:0]
	s.idx.mu.RLock()
	orphans := len(s.idx.orphans) > 0
	s.idx.mu.RUnlock()
	if orphans {
		s.nudgeKeeper()
	}
}
