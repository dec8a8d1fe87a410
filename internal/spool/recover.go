package spool

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/postern-mail/postern/internal/envelope"
)

// recover reads the own directory into the index.
func (s *Spool) recover(ctx context.Context, rec *Recovery) (*loader, error) {
	l := newLoader(s.fs, s.dir, s.incarnation, s.weakSums)
	if err := l.load(ctx, true); err != nil {
		return nil, errors.Join(err, l.close())
	}
	if !l.marked && !rec.New {
		return s.freshIncarnation(ctx, l, rec)
	}
	s.idx, s.since, s.gap = l.idx, l.from.since, l.from.gap
	if l.from.number == 0 && !rec.New {
		s.gap, s.since = l.ledgerGap(s.cfg.Clock())
	}
	if s.since.IsZero() {
		s.since = s.cfg.Clock()
	}
	for n, seg := range l.segs {
		s.segs[n] = seg
	}
	s.voids = l.voids
	s.keep.scars, s.keep.adopted = l.scars, l.adopted
	for _, sr := range l.fresh {
		s.keep.scars[sr.number] = sr
	}
	s.synced.Store(max(l.synced, l.counted, l.last))
	s.commit.last, s.commit.base = max(l.last, l.synced), l.counted
	rec.Incarnation, rec.Checkpoint = s.incarnation, l.from.number
	rec.Batches, rec.Octets, rec.Torn = l.batches, l.octets, l.torn
	s.keep.checkpoints = l.checkpointsKept()
	s.keep.lastNumber = slices.Max(append(l.checkpoints, 0))
	return l, s.tidy(l)
}

// freshIncarnation is for a directory in which nothing says which IDs were
// drawn: going on there could draw one again.
func (s *Spool) freshIncarnation(ctx context.Context, l *loader, rec *Recovery) (*loader, error) {
	if len(l.numbers)+len(l.events)+len(l.checkpoints) > 0 {
		rec.Findings = append(rec.Findings, Finding{
			Kind: LostSequenceLimit, Recipient: -1, Holder: s.incarnation.String(),
			Detail: "no mark of the IDs drawn was left: a new incarnation was drawn",
		})
	} // else a power cut came before the first segment, and so before the first ID
	if err := errors.Join(l.close(), s.lock.Close()); err != nil {
		return nil, err
	}
	if err := s.drawIncarnation(rec); err != nil {
		return nil, err
	}
	return s.recover(ctx, rec)
}

// tidy removes what nothing names and makes spares of segments without mail
// that were only prepared.
func (s *Spool) tidy(l *loader) error {
	for _, name := range l.temporary {
		if err := s.fs.Remove(name); err != nil {
			return err
		}
	}
	for _, name := range l.spares {
		n, _ := fileNumber(path.Base(name), "spare")
		s.spareNumber.Store(max(s.spareNumber.Load(), n))
	}
	for _, id := range l.drafts {
		if l.idx.drafts[id] == 0 && s.mayRemoveDraft(id) {
			if err := s.fs.Remove(draftName(s.dir, id)); err != nil {
				return err
			}
		}
	}
	if err := s.unprepare(l); err != nil {
		return err
	}
	for _, name := range l.spares {
		if err := s.reuseSpare(name); err != nil {
			return err
		}
	}
	return s.fs.SyncDir(s.dir)
}

// unprepare makes spares of the segments at the end that were prepared and
// never used. Their numbers are free again.
func (s *Spool) unprepare(l *loader) error {
	for _, n := range slices.Backward(l.numbers) {
		seg := l.segs[n]
		if !seg.unused || seg.bad || seg.file == nil {
			return nil
		}
		delete(s.segs, n)
		name := spareName(s.dir, s.spareNumber.Add(1))
		if err := errors.Join(seg.file.Close(), s.fs.Rename(seg.name, name)); err != nil {
			return err
		}
		l.spares = append(l.spares, name)
	}
	return nil
}

// reuseSpare takes a spare left by the process before, or removes it when it
// has another size or is one too many.
func (s *Spool) reuseSpare(name string) error {
	f, err := s.fs.OpenReadWrite(name)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil || size != s.cfg.SegmentOctets || len(s.spares) >= maxSpares {
		return errors.Join(err, f.Close(), s.fs.Remove(name))
	}
	s.addSpare(&prepared{name: name, file: f, at: s.cfg.Clock(), used: true})
	return nil
}

// startHead begins a new segment: what is behind a torn tail is never written
// over. A prepared segment without a batch becomes a spare first.
func (s *Spool) startHead(l *loader) error {
	s.seq.Store(l.limit)
	if l.findingsHurt() {
		s.seq.Add(reserve) // a mark may have been among what was destroyed
	}
	s.commitLimit = s.seq.Load() + reserve
	s.limit.Store(s.commitLimit)
	next := uint64(1)
	for n, seg := range s.segs {
		next = max(next, n+1)
		seg.sealed = s.cfg.Clock()
	}
	p := s.takeSpare()
	var err error
	if p == nil {
		p, err = s.makeSpare(false)
		if err != nil && s.useBallast(s.cfg.SegmentOctets, false) {
			p, err = s.makeSpare(false)
		}
		if err != nil {
			return ioError(err)
		}
	}
	seg, err := s.beginSegment(p, next, s.commit.last)
	if err != nil {
		return ioError(err)
	}
	c := &s.commit
	c.head, c.off, c.first = seg, firstBatch, c.last+1
	if c.first > c.base+1 {
		s.addVoid(span{c.base + 1, c.first - 1})
	}
	s.addSegment(seg)
	s.headNumber.Store(seg.number)
	s.headLeft.Store(s.cfg.SegmentOctets - c.off)
	return nil
}

func (l *loader) findingsHurt() bool {
	r := Recovery{Findings: l.findings}
	return r.Hurt()
}

func (s *Spool) addSegment(seg *segment) {
	s.segMu.Lock()
	defer s.segMu.Unlock()
	s.segs[seg.number] = seg
}

// writeScars makes what recovery decided lasting, so that the next one decides
// the same and does not report it again.
func (s *Spool) writeScars(ctx context.Context, l *loader) error {
	if len(l.fresh) == 0 {
		return nil
	}
	g := groupPool.Get().(*group)
	defer g.put()
	for _, sr := range l.fresh {
		at := g.start(recNote, envelope.ID{})
		g.buf = appendScar(append(g.buf, noteScar), sr)
		g.end(at)
	}
	return s.commitGroup(ctx, g)
}

// commitGroup writes a group of our own and waits for its sync.
func (s *Spool) commitGroup(ctx context.Context, g *group) error {
	b, err := s.enqueue(g, true)
	if err != nil {
		return err
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

// abandonOpen closes what a failed Open had opened.
func (s *Spool) abandonOpen() error {
	if s.lock == nil {
		return nil
	}
	return errors.Join(s.events.closeFiles(), s.closeFiles())
}

func (s *Spool) logRecovery(rec *Recovery) {
	log := s.cfg.Logger
	log.Info("spool opened", "incarnation", s.incarnation.String(), "live", rec.Live, "batches", rec.Batches,
		"octets", rec.Octets, "torn", rec.Torn, "findings", len(rec.Findings), "duration_ms", rec.Duration.Milliseconds())
	for i := range rec.Findings {
		f := &rec.Findings[i]
		s.stats.finding(f.Kind)
		f.log(log)
	}
}
