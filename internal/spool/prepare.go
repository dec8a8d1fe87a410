package spool

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/postern-mail/postern/internal/telemetry"
)

// errNoSegment says that the head is good but full and that there is no next.
var errNoSegment = errors.New("no next segment")

// need is the committer's wish for a segment now. For changes the ballast may
// be given up, for new mail not.
type need struct {
	changes bool
	reply   chan error
}

// roll makes the next segment the head.
func (s *Spool) roll(changes bool) error {
	c := &s.commit
	if c.head != nil {
		if err := s.syncHead(forFinish); err != nil {
			return err
		}
	}
	seg, err := s.takeNext(changes)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoSegment, err)
	}
	if c.head != nil {
		s.sealSegment(c.head)
		c.base = c.last
	}
	c.first = c.last + 1
	c.head, c.off = seg, firstBatch
	s.addSegment(seg)
	s.headNumber.Store(seg.number)
	if c.first > c.base+1 {
		s.addVoid(span{c.base + 1, c.first - 1})
	}
	s.headLeft.Store(s.cfg.SegmentOctets - c.off)
	c.wanted = false
	s.nudgeKeeper()
	telemetry.FailPoint("spool.segment.rolled")
	return nil
}

// takeNext returns the prepared segment, waiting for it when it must.
func (s *Spool) takeNext(changes bool) (*segment, error) {
	s.wantSegment()
	select {
	case seg := <-s.nextSegment:
		return seg, nil
	default:
	}
	s.stats.stalls.Add(1)
	s.urgent.Store(true)
	defer s.urgent.Store(false)
	reply := make(chan error, 1)
	select {
	case seg := <-s.nextSegment:
		return seg, nil
	case s.needNow <- need{changes, reply}:
	case <-s.prepareStop:
		return nil, ErrClosed
	}
	select {
	case seg := <-s.nextSegment:
		return seg, nil
	case err := <-reply:
		return nil, err
	case <-s.prepareStop:
		return nil, ErrClosed
	}
}

// wantSegment asks for the segment after the head, once.
func (s *Spool) wantSegment() {
	if c := &s.commit; !c.wanted {
		c.wanted = true
		s.wantNext <- s.headNumber.Load() + 1
	}
}

// runPreparer keeps one segment ready. It is the only one that makes segments.
func (s *Spool) runPreparer() {
	defer s.group.Done()
	for {
		select {
		case n := <-s.wantNext:
			if !s.prepareUntil(n) {
				return
			}
		case <-s.prepareStop:
			return
		}
	}
}

// prepareUntil makes segment n, trying again until it can or the spool closes.
func (s *Spool) prepareUntil(n uint64) bool {
	var asked need
	for {
		seg, err := s.prepare(n, asked)
		s.tight.Store(err != nil)
		if err == nil {
			s.nextSegment <- seg
			return true
		}
		if asked.reply != nil {
			asked.reply <- ioError(err)
		} else {
			s.cfg.Logger.Warn("spool cannot prepare the next segment", "error", err.Error(), "segment", n)
		}
		asked = need{}
		retry := time.NewTimer(s.cfg.RoomEvery)
		select {
		case <-retry.C:
		case asked = <-s.needNow:
		case <-s.prepareStop:
			retry.Stop()
			return false
		}
		retry.Stop()
	}
}

// prepare takes a spare or makes one.
func (s *Spool) prepare(n uint64, asked need) (*segment, error) {
	p := s.takeSpare()
	if p == nil {
		var err error
		p, err = s.makeSpare(asked.reply == nil)
		if errors.Is(err, syscall.ENOSPC) && asked.changes && s.useBallast(s.cfg.SegmentOctets, true) {
			p, err = s.makeSpare(false)
		}
		if err != nil {
			return nil, err
		}
	}
	return s.beginSegment(p, n, s.synced.Load())
}

func (s *Spool) takeSpare() *prepared {
	s.spareMu.Lock()
	defer s.spareMu.Unlock()
	n := len(s.spares)
	if n == 0 {
		return nil
	}
	p := s.spares[n-1]
	s.spares = s.spares[:n-1]
	return p
}

func (s *Spool) addSpare(p *prepared) {
	s.spareMu.Lock()
	defer s.spareMu.Unlock()
	s.spares = append(s.spares, p)
}

func (s *Spool) addVoid(v span) {
	s.segMu.Lock()
	defer s.segMu.Unlock()
	s.voids = append(s.voids, v)
}

func (s *Spool) sealSegment(seg *segment) {
	s.segMu.Lock()
	defer s.segMu.Unlock()
	seg.sealed = s.cfg.Clock()
}
