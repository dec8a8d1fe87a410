package spool

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/postern-mail/postern/internal/durable"
)

// start finds where the event log ends and brings it up to the main log.
func (w *eventWriter) start(ctx context.Context, l *loader) error {
	for _, n := range l.events {
		name := eventName(w.s.dir, n)
		fi, err := w.s.fs.Stat(name)
		if err != nil {
			return err
		}
		w.files = append(w.files, eventFile{name: name, octets: fi.Size(), number: n})
		w.total += fi.Size()
		w.number = max(w.number, n)
	}
	if err := w.findEnd(l); err != nil {
		return err
	}
	w.syncedThrough.Store(w.through)
	w.holds, w.taken = w.through, w.through
	if w.through >= l.counted {
		return nil
	}
	w.taken = l.counted
	if err := w.fromLog(ctx, w.through, l.counted); err != nil {
		// Mail does not wait for its events: the writer tries again.
		w.s.cfg.Logger.Error("spool event log failed", "error", err.Error())
		w.lagging = true
		w.failed()
		return nil
	}
	w.holds = w.through
	return nil
}

// findEnd looks through the newest files for the last batch that counts. A
// file left open by a crash is cut to what it holds and never continued; one
// without a header and without a batch was never more than a name.
func (w *eventWriter) findEnd(l *loader) error {
	for i := len(w.files) - 1; i >= 0; i-- {
		f := w.files[i]
		e, err := w.readEnd(f.name)
		if err != nil {
			return err
		}
		if !e.header && !e.used {
			w.files = append(w.files[:i], w.files[i+1:]...)
			w.total -= f.octets
			if err := w.s.fs.Remove(f.name); err != nil {
				return err
			}
			continue
		}
		if !e.header {
			l.find(Finding{Kind: BadEvents, Recipient: -1, Holder: path.Base(f.name), Detail: "both headers are destroyed"})
			continue
		}
		if e.damaged > 0 {
			l.find(Finding{Kind: BadEvents, Recipient: -1, Holder: path.Base(f.name), Octets: e.damaged, Detail: "events are destroyed"})
		}
		if e.end < f.octets {
			if err := w.cut(f.name, e.end); err != nil {
				return err
			}
			w.total -= f.octets - e.end
			w.files[i].octets = e.end
		}
		if e.found {
			w.through, w.batchNumber, w.syncedBatch = e.through, e.number, e.number
			return nil
		}
	}
	return nil
}

// eventEnd is how an event file ends.
type eventEnd struct {
	header, used, found bool
	end, damaged        int64
	through, number     uint64
}

func (w *eventWriter) cut(name string, end int64) error {
	f, err := w.s.fs.OpenReadWrite(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(end), f.Close())
}

// readEnd reads one event file for its last batch. What is bad and was synced
// is damage; what is bad beyond is a torn tail, and with it all that follows:
// those events come again from the main log.
func (w *eventWriter) readEnd(name string) (e eventEnd, err error) {
	f, err := w.s.fs.Open(name)
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sc, after := eventScanner(f, w.s.weakSums)
	if sc == nil {
		var b [edgeOctets]byte
		n, err := readFull(f, b[:], firstBatch)
		e.used = n > 0 && string(b[:8]) == magicHeader
		return e, err
	}
	synced, err := lastSynced(*sc)
	if err != nil {
		return e, err
	}
	e.header, e.end, e.number = true, firstBatch, after
	for {
		v, ok, err := sc.next()
		if err != nil || !ok {
			return e, err
		}
		if v.bad || !v.trailer {
			if e.number >= synced {
				return e, nil
			}
			e.damaged += v.octets
			continue
		}
		if e.number+1 > synced && (v.edge.number != e.number+1 || !v.allGood()) {
			return e, nil
		}
		e.found, e.end = true, v.off+v.octets
		e.through, e.number = max(e.through, v.edge.through), v.edge.number
	}
}

// lastSynced is the highest batch that any batch says was synced.
func lastSynced(sc scanner) (uint64, error) {
	sc.light = true
	synced := uint64(0)
	for {
		v, ok, err := sc.next()
		if err != nil || !ok {
			return synced, err
		}
		if !v.bad {
			synced = max(synced, v.edge.synced)
		}
	}
}

// eventScanner is nil for what is no event file that this build reads.
func eventScanner(f durable.File, weak bool) (sc *scanner, after uint64) {
	h, ok := readHeader(f)
	if !ok || !h.events || h.minReader > formatVersion {
		return nil, 0
	}
	sc, err := newScanner(f, h.seed, weak)
	if err != nil {
		return nil, 0
	}
	return sc, h.after
}

// fromLog writes the events of the main batches after from up to to. fileMu is
// held, or nothing else runs yet.
func (w *eventWriter) fromLog(ctx context.Context, from, to uint64) error {
	b := newBatch()
	err := w.s.readLog(ctx, from, to, func(_ *segment, v *view) error {
		w.s.counted(v, func(r recordView) bool {
			if r.good && (r.typ == recAccept || r.typ == recMove || r.typ == recFinish) {
				b.add(r.typ, r.flags, r.id, r.body)
			}
			return true
		})
		if len(b.buf) < eventFlushSize {
			return nil
		}
		err := w.write(b, v.edge.number)
		b.recycle()
		b = newBatch()
		return err
	})
	if err == nil {
		err = w.write(b, to)
		b.recycle()
	}
	if err != nil {
		return fmt.Errorf("events of batches %d to %d: %w", from+1, to, err)
	}
	return nil
}

// readLog gives the batches after from up to to, in order, that count.
func (s *Spool) readLog(ctx context.Context, from, to uint64, give func(*segment, *view) error) error {
	s.segMu.RLock()
	var list []*segment
	for _, seg := range s.segs {
		if !seg.bad && seg.file != nil {
			seg.pins.Add(1)
			list = append(list, seg)
		}
	}
	s.segMu.RUnlock()
	defer func() {
		for _, seg := range list {
			seg.pins.Add(-1)
		}
	}()
	slices.SortFunc(list, func(a, b *segment) int { return int(a.number) - int(b.number) })
	// From the newest back to the one in which batch from+1 is: what is
	// older is not read.
	first := 0
	for i, seg := range slices.Backward(list) {
		if n, ok := firstNumber(seg, s.weakSums); ok && n <= from+1 {
			first = i
			break
		}
	}
	for _, seg := range list[first:] {
		if err := s.readSegment(ctx, seg, from, to, give); err != nil {
			return err
		}
	}
	return nil
}

// firstNumber is the number of the first batch in a segment.
func firstNumber(seg *segment, weak bool) (uint64, bool) {
	sc, err := newScanner(seg.file, seg.seed, weak)
	if err != nil {
		return 0, false
	}
	sc.light = true
	v, ok, err := sc.at(firstBatch)
	return v.edge.number, ok && err == nil
}

func (s *Spool) readSegment(ctx context.Context, seg *segment, from, to uint64, give func(*segment, *view) error) error {
	sc, err := newScanner(seg.file, seg.seed, s.weakSums)
	if err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		v, ok, err := sc.next()
		if err != nil || !ok {
			return err
		}
		if v.bad || v.edge.number <= from || s.void(v.edge.number) {
			continue
		}
		if v.edge.number > to {
			return nil
		}
		if err := give(seg, &v); err != nil {
			return err
		}
	}
}

// counted yields the records of a batch that replay would apply: of one that
// was found torn only whole groups.
func (s *Spool) counted(v *view, yield func(recordView) bool) {
	if sr, scarred := s.keep.scars[v.edge.number]; !scarred || !sr.torn {
		v.records(yield)
		return
	}
	if !v.trailer {
		return
	}
	var group []recordView
	whole := true
	end := func() bool {
		for i := range group {
			if whole && !yield(group[i]) {
				return false
			}
		}
		group, whole = group[:0], true
		return true
	}
	v.records(func(r recordView) bool {
		if r.flags&flagGroup != 0 && !end() {
			return false
		}
		group = append(group, r)
		whole = whole && r.good && draftThere(s.fs, s.dir, &r)
		return true
	})
	end()
}

// void reports whether batch n was abandoned.
func (s *Spool) void(n uint64) bool {
	s.segMu.RLock()
	defer s.segMu.RUnlock()
	return inSpans(s.voids, n)
}

func inSpans(list []span, n uint64) bool {
	for _, s := range list {
		if n >= s.first && n <= s.last {
			return true
		}
	}
	return false
}
