package spool

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/telemetry"
)

// copyAtOnce bounds what one tick of the keeper copies. Chosen: at one tick a
// second it is far below what a disk writes and keeps commits quick.
const copyAtOnce = 8 << 20

// copyForward copies live mail out of the oldest segment so that it can be
// freed, when the log is longer than what lives in it is worth.
func (s *Spool) copyForward() {
	seg := s.oldestSegment()
	if seg == nil || !s.worthCopying(seg) {
		return
	}
	s.idx.mu.RLock()
	ids := s.idx.in(uint32(seg.number))
	s.idx.mu.RUnlock()
	copied, octets := 0, int64(0)
	for _, id := range ids {
		if octets > copyAtOnce || s.stopping() {
			break
		}
		n, err := s.copyOne(id)
		if err != nil {
			s.cfg.Logger.Warn("spool message not copied forward", "error", err.Error(), "id", id.String())
			if errors.Is(err, ErrIO) || errors.Is(err, ErrNoRoom) {
				break
			}
			continue
		}
		octets += n
		if copied++; copied == len(ids)/2+1 {
			telemetry.FailPoint("spool.copy-forward.half")
		}
	}
	s.stats.copied.Add(int64(copied))
}

func (s *Spool) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// worthCopying: the log is longer than three times what lives in it and four
// segments; or the segment is old and little of it lives; or it is very old
// and there is finished mail behind it.
func (s *Spool) worthCopying(seg *segment) bool {
	if seg.number == s.headNumber.Load() || seg.bad {
		return false
	}
	s.segMu.RLock()
	used, sealed := int64(len(s.segs))*s.cfg.SegmentOctets, seg.sealed
	s.segMu.RUnlock()
	var live, here int64
	s.idx.mu.RLock()
	for n, u := range s.idx.segments {
		live += u.octets
		if n == uint32(seg.number) {
			here = u.octets
			if u.messages == 0 || u.pinned {
				s.idx.mu.RUnlock()
				return false
			}
		}
	}
	s.idx.mu.RUnlock()
	age := s.cfg.Clock().Sub(sealed)
	switch {
	case used > 3*live+4*s.cfg.SegmentOctets:
		return true
	case age >= s.cfg.CopyForwardAfter && here <= s.cfg.SegmentOctets/4:
		return true
	default:
		return age >= s.cfg.CopyForwardAtMost && used-live >= 2*s.cfg.SegmentOctets
	}
}

// copyOne copies one message, waits until the copy is synced, and returns its
// octets. The statuses it bears are those that all changes queued before it
// have led to: a message with a change in the queue is left for later.
func (s *Spool) copyOne(id envelope.ID) (int64, error) {
	s.idx.mu.RLock()
	e, ok := s.idx.get(id)
	s.idx.mu.RUnlock()
	if !ok {
		return 0, nil
	}
	env, ref, err := s.readAccept(id, &e)
	if err != nil {
		return 0, ignoreMoved(err)
	}
	g := groupPool.Get().(*group)
	defer g.put()
	body, err := s.contentBody(&e, env, ref)
	if err != nil {
		return 0, ignoreMoved(err)
	}
	b, err := s.enqueueCopy(g, env, ref, body, &e)
	if err != nil || b == nil {
		return 0, err
	}
	<-b.done // the committer always ends: its writes and syncs return
	return int64(len(body)) + int64(e.length), b.err
}

func ignoreMoved(err error) error {
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

// contentBody reads the body of the content record, nil for a draft.
func (s *Spool) contentBody(e *entry, env *envelope.Envelope, ref contentRef) ([]byte, error) {
	if ref.draft || ref.none {
		return nil, nil
	}
	seg := s.pin(uint64(e.segment))
	if seg == nil {
		return nil, s.vanished(env.ID, e)
	}
	defer seg.pins.Add(-1)
	at := recordPlace{batch: e.batch, off: int64(e.offset) - int64(ref.distance), octets: recordOctets + 8 + env.Size, typ: recContent}
	var buf []byte
	body, err := readRecord(seg, s.weakSums, at, &buf)
	if err != nil {
		return nil, fmt.Errorf("content of %v in %s at %d: %w", env.ID, seg.name, at.off, err)
	}
	return body, nil
}

// enqueueCopy queues the copy unless the message has moved on or a change of
// it is queued.
func (s *Spool) enqueueCopy(g *group, env *envelope.Envelope, ref contentRef, body []byte, was *entry) (*batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changing(env.ID) {
		return nil, nil
	}
	s.idx.mu.RLock()
	e, ok := s.idx.get(env.ID)
	list := append([]recipient(nil), s.idx.recipients(env.ID, &e)...)
	s.idx.mu.RUnlock()
	if !ok || e.segment != was.segment || e.offset != was.offset {
		return nil, nil
	}
	g.copyOf(env, ref, body, list)
	return s.enqueueLocked(g, true)
}

// changing reports whether a change of id is queued or being written. s.mu is
// held.
func (s *Spool) changing(id envelope.ID) bool {
	in := func(b *batch) bool {
		for i := range b.ops {
			if b.ops[i].id == id {
				return true
			}
		}
		return false
	}
	if s.inflight != nil && in(s.inflight) {
		return true
	}
	for _, b := range s.full {
		if in(b) {
			return true
		}
	}
	return in(s.open)
}

// copyOf adds a content record with the given body, and the copy.
func (g *group) copyOf(env *envelope.Envelope, ref contentRef, body []byte, list []recipient) {
	g.accepts = true
	if body != nil {
		at := g.start(recContent, env.ID)
		g.extra, g.split = body, len(g.buf)
		le.PutUint32(g.buf[at+4:], uint32(len(body)))
		g.pad(recordOctets + len(body))
	}
	at := g.start(recCopy, env.ID)
	ref.distance = uint64(g.at() - recordOctets)
	g.buf = appendAccept(g.buf, env, ref)
	g.buf = appendStatuses(g.buf, list)
	o := op{kind: opCopy, id: env.ID, env: env, ref: ref, list: list}
	o.start, o.end = g.end(at)
	g.ops = append(g.ops, o)
}

// barrier waits until all that was queued before is written and synced. It
// leaves a batch without records.
func (s *Spool) barrier(ctx context.Context) error {
	return s.commitGroup(ctx, &group{})
}
