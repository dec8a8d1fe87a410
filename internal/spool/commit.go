package spool

import (
	"context"
	"fmt"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/telemetry"
)

// Commit makes one content (d), an accept for each of envs, and changes
// durable, all or nothing. A nil error is custody. d may be nil when envs is
// empty; after Commit it must not be used, whatever the outcome.
//
// The context bounds the wait, not the outcome: when it ends first the error
// is ErrUnknown and the messages may be live.
func (s *Spool) Commit(ctx context.Context, d *Draft, envs []*envelope.Envelope, changes []envelope.Change) error {
	telemetry.FailPoint("spool.commit.enter")
	if d != nil {
		defer d.done()
	}
	if err := s.checkCommit(d, envs, changes); err != nil {
		return err
	}
	ref, err := s.settle(d, envs)
	if err != nil {
		return err
	}
	g := groupPool.Get().(*group)
	defer g.put()
	g.content(d, envs, ref)
	now := s.cfg.Clock()
	for i := range changes {
		g.change(&changes[i], now, false)
	}
	b, err := s.enqueue(g, true)
	if err != nil {
		return err
	}
	select {
	case <-b.done:
		if b.err == nil {
			d.committed()
		}
		return b.err
	case <-ctx.Done():
		d.committed() // it may be: the draft file is left to recovery
		return fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

func (s *Spool) checkCommit(d *Draft, envs []*envelope.Envelope, changes []envelope.Change) error {
	if len(envs) > 0 && d == nil || len(envs) == 0 && d != nil {
		return fmt.Errorf("commit %d envelopes and a draft: %v: %w", len(envs), d != nil, ErrInvalid)
	}
	for _, e := range envs {
		if e.ID.IsZero() {
			return fmt.Errorf("no ID could be drawn: %w", ErrIO)
		}
		if e.Kind == 0 || len(e.Forward) == 0 || len(e.Forward) >= maxRecipients {
			return fmt.Errorf("commit %v: kind %d, %d recipients: %w", e.ID, e.Kind, len(e.Forward), ErrInvalid)
		}
		e.Size = d.Size()
	}
	return s.checkChanges(changes)
}

// checkChanges says ErrGone for a message that is not live.
func (s *Spool) checkChanges(changes []envelope.Change) error {
	s.idx.mu.RLock()
	defer s.idx.mu.RUnlock()
	for i := range changes {
		c := &changes[i]
		e, ok := s.idx.get(c.ID)
		if !ok {
			return fmt.Errorf("change %v: %w", c.ID, ErrGone)
		}
		if c.Recipient < 0 || c.Recipient >= int(e.count) || c.To < envelope.Queued || c.To > envelope.Deleted {
			return fmt.Errorf("change %v recipient %d to %d: %w", c.ID, c.Recipient, c.To, ErrInvalid)
		}
	}
	return nil
}

// Apply makes moves and finishes. It returns when they are written, in order
// and visible to Envelope and Live; their sync comes with the next accepted
// batch, at the latest FinishSyncDelay later. ErrGone: a message is not live.
//
// Apply waits for the write because a caller that gives its claim back before
// the change is visible would see the message due again. A write without sync
// is some ten microseconds; at worst one sync of others is waited for.
func (s *Spool) Apply(ctx context.Context, changes []envelope.Change) error {
	if len(changes) == 0 {
		return nil
	}
	if err := s.checkChanges(changes); err != nil {
		return err
	}
	g := groupPool.Get().(*group)
	defer g.put()
	now := s.cfg.Clock()
	for i := range changes {
		g.change(&changes[i], now, true)
	}
	b, err := s.enqueue(g, false)
	if err != nil {
		return err
	}
	select {
	case <-b.done:
		return b.lazyErr
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

// enqueue puts a group into the batch that is being filled and wakes the
// committer when it waits for this.
func (s *Spool) enqueue(g *group, wait bool) (*batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enqueueLocked(g, wait)
}

func (s *Spool) enqueueLocked(g *group, wait bool) (*batch, error) {
	size := len(g.buf) + len(g.extra) + g.records*dirOctets
	if edgeOctets*2+size+block > int(s.cfg.SegmentOctets)-firstBatch {
		return nil, fmt.Errorf("a group of %d octets does not fit a segment: %w", size, ErrInvalid)
	}
	if err := s.refusal(g.accepts, size); err != nil {
		return nil, err
	}
	if b := s.open; !b.empty() && b.sealed()+size > s.maxBatch {
		s.full = append(s.full, b)
		s.open = newBatch()
	}
	b := s.open
	g.into(b)
	if wait {
		b.waiting++
	} else {
		b.lazies++
	}
	s.signal()
	return b, nil
}

// refusal says why nothing can be queued now. s.mu is held.
func (s *Spool) refusal(accepts bool, size int) error {
	if s.closed {
		return ErrClosed
	}
	if s.broken != nil && time.Now().Before(s.brokenUntil) {
		return s.broken
	}
	if accepts && s.short(int64(size)) {
		return fmt.Errorf("no next segment: %w", ErrNoRoom)
	}
	return nil
}

// signal wakes the committer when it is idle, or gathers and has enough. s.mu
// is held.
func (s *Spool) signal() {
	if s.idle || s.wakeAt > 0 && (len(s.full) > 0 || s.open.waiting >= s.wakeAt) {
		s.idle, s.wakeAt = false, 0
		s.wake()
	}
}

func (s *Spool) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}
