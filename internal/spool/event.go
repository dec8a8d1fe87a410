package spool

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/telemetry"
)

// Bounds of the event writer. Chosen: a write every 200 ms or 64 KiB keeps it
// out of the way of the mail log; what is not written when 4 MiB have come
// together is read from the main log later.
const (
	eventFlushEvery = 200 * time.Millisecond
	eventFlushSize  = 64 << 10
	eventPending    = 4 << 20
)

// eventWriter writes the event log. It is always derived: what memory could
// not hold, or what a crash or a failed write took, is read again from the
// main log, whose segments are not freed before their events are synced.
//
// mu guards pending and the lag; fileMu, taken before mu, the file.
type eventWriter struct {
	s    *Spool
	kick chan struct{}

	mu      sync.Mutex
	pending *batch
	taken   uint64 // last main batch given to take
	holds   uint64 // last main batch whose events are in pending or written
	lagging bool   // events between holds and taken are not in pending

	fileMu        sync.Mutex
	file          durable.File
	name          string
	number        uint64
	seed          uint64
	off           int64
	batchNumber   uint64
	syncedBatch   uint64
	through       uint64 // events of main batches up to here are written
	dirty         bool
	hashes        []uint64 // keys of the file, for its filter
	syncedThrough atomic.Uint64
	files         []eventFile // complete ones, oldest first
	total         int64
	max           int64 // octets of one file
}

// eventFile is one complete file of the event log.
type eventFile struct {
	name   string
	octets int64
	number uint64
}

func newEventWriter(s *Spool) *eventWriter {
	return &eventWriter{s: s, kick: make(chan struct{}, 1), pending: newBatch(), max: s.cfg.SegmentOctets}
}

// take copies the events of a synced batch. It never waits for the disk.
func (w *eventWriter) take(b *batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken = b.number
	if w.lagging || len(w.pending.buf) > eventPending {
		w.lagging = true
		w.s.stats.eventLag.Store(int64(w.taken - w.holds))
		return
	}
	w.pending.copyEvents(b.buf[:b.payload])
	w.holds = b.number
	if len(w.pending.buf) > eventFlushSize {
		w.wake()
	}
}

func (w *eventWriter) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// copyEvents adds those records of a main batch that are events.
func (b *batch) copyEvents(buf []byte) {
	for pos := edgeOctets; pos < len(buf); {
		var h recordHeader
		h.decode(buf[pos:])
		end := pos + padded(int(h.length))
		if h.typ == recAccept || h.typ == recMove || h.typ == recFinish {
			b.buf = append(b.buf, buf[pos:end]...)
			b.records++
		}
		pos = end
	}
}

// Refused adds mail that was refused in session after its content was read to
// the event log. It never waits; when the writer is far behind the event is
// dropped and counted.
func (s *Spool) Refused(ev RefusedEvent) {
	w := s.events
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending.buf) > eventPending {
		s.stats.eventErrors.Add(1)
		return
	}
	if ev.Time.IsZero() {
		ev.Time = s.cfg.Clock()
	}
	w.pending.add(recRefused, flagGroup, envelope.ID{}, appendRefused(nil, &ev))
}

// run writes what came together, and syncs at intervals.
func (w *eventWriter) run() {
	defer w.s.group.Done()
	flush := time.NewTicker(eventFlushEvery)
	defer flush.Stop()
	lastSync := time.Now()
	for {
		select {
		case <-w.s.stop:
			return
		case <-w.kick:
		case <-flush.C:
		}
		err := w.flush()
		if err == nil && time.Since(lastSync) >= w.s.cfg.EventSyncEvery {
			lastSync = time.Now()
			err = w.sync()
		}
		if err != nil {
			w.s.cfg.Logger.Error("spool event log failed", "error", err.Error())
		}
	}
}

// flush writes pending, after what the main log must give first.
func (w *eventWriter) flush() error {
	w.fileMu.Lock()
	defer w.fileMu.Unlock()
	for {
		w.mu.Lock()
		b, holds, lagging := w.pending, w.holds, w.lagging
		some := b.records > 0
		if some {
			w.pending = newBatch()
		}
		w.mu.Unlock()
		if some || holds > w.through {
			if !some { // what is pending may be filled at this moment
				b = newBatch()
			}
			err := w.write(b, holds)
			if err != nil {
				w.failed()
				return err
			}
			b.recycle()
		}
		if !lagging {
			return nil
		}
		if err := w.catchUp(); err != nil {
			return err
		}
	}
}

// write appends one batch to the event file. fileMu is held.
func (w *eventWriter) write(b *batch, through uint64) error {
	telemetry.FailPoint("spool.event.before-append")
	if w.file != nil && w.off+int64(b.sealed())+w.filterRoom(b.records) > w.max && w.off > firstBatch {
		if err := w.finishFile(); err != nil {
			return err
		}
	}
	if w.file == nil {
		if err := w.newFile(int64(b.sealed())); err != nil {
			return err
		}
	}
	w.note(b)
	if err := w.put(b, through); err != nil {
		return err
	}
	w.through = through
	w.s.stats.eventBatches.Add(1)
	return nil
}

func (w *eventWriter) put(b *batch, through uint64) error {
	e := edge{
		seed: w.seed, number: w.batchNumber + 1, synced: w.syncedBatch, limit: w.s.limit.Load(),
		time: nanos(w.s.cfg.Clock()), offset: uint32(w.off), through: through,
	}
	b.seal(&e, w.s.weakSums)
	if _, err := w.file.WriteAt(b.buf, w.off); err != nil {
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	w.batchNumber++
	w.off += int64(len(b.buf))
	w.dirty = true
	return nil
}

// newFile begins an event file. When the disk is full the oldest events go.
func (w *eventWriter) newFile(need int64) error {
	err := w.createFile(firstBatch+need, w.max)
	if errors.Is(err, syscall.ENOSPC) && w.shed("the disk is full") {
		err = w.createFile(firstBatch+need, w.max)
	}
	if errors.Is(err, syscall.ENOSPC) { // a short file will do: segments are freed only behind their events
		err = w.createFile(firstBatch+need, 0)
	}
	if errors.Is(err, syscall.ENOSPC) && w.s.useBallast(firstBatch+need, false) {
		err = w.createFile(firstBatch+need, 0)
	}
	if err != nil {
		return err
	}
	for w.total+w.max > w.s.cfg.EventLogMax && w.shed("the bound on events is reached") {
	}
	return nil
}

func (w *eventWriter) createFile(need, want int64) error {
	n := w.number + 1
	name := eventName(w.s.dir, n)
	f, err := w.s.fs.Create(name)
	if err != nil {
		return err
	}
	seed := randomUint64()
	h := fileHeader{
		events: true, seed: seed, number: n, incarnation: w.s.incarnation, limit: w.s.limit.Load(),
		time: w.s.cfg.Clock(), after: w.batchNumber,
	}
	err = f.Allocate(max(want, need))
	if err == nil {
		err = writeHeader(f, &h)
	}
	if err == nil {
		err = w.s.fs.SyncDir(w.s.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make %s: %w", name, err), f.Close(), w.s.fs.Remove(name))
	}
	w.file, w.name, w.number, w.seed, w.off = f, name, n, seed, firstBatch
	w.hashes = w.hashes[:0]
	return nil
}

// finishFile ends the file with its filter and cuts it to what was used.
func (w *eventWriter) finishFile() error {
	b := newBatch()
	b.add(recFilter, flagGroup, envelope.ID{}, makeFilter(w.hashes))
	err := w.put(b, w.through)
	if err == nil {
		err = w.syncFile()
	}
	if err == nil {
		err = w.file.Truncate(w.off)
	}
	if err != nil {
		return fmt.Errorf("finish %s: %w", w.name, err)
	}
	return w.retire()
}

// retire closes the current file and lists it with the complete ones.
func (w *eventWriter) retire() error {
	f := w.file
	w.file = nil
	w.files = append(w.files, eventFile{name: w.name, octets: w.off, number: w.number})
	w.total += w.off
	return f.Close()
}

func (w *eventWriter) sync() error {
	w.fileMu.Lock()
	defer w.fileMu.Unlock()
	if err := w.syncFile(); err != nil {
		w.failed()
		return err
	}
	return nil
}

func (w *eventWriter) syncFile() error {
	if w.file == nil || !w.dirty {
		return nil
	}
	telemetry.FailPoint("spool.event.before-sync")
	began := time.Now()
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.name, err)
	}
	w.s.stats.sync(forEvent, time.Since(began))
	w.dirty = false
	w.syncedBatch = w.batchNumber
	w.syncedThrough.Store(w.through)
	w.s.nudgeKeeper()
	return nil
}

// failed gives the current file up: what is beyond its last sync is written
// again from the main log. Refused events among it are lost.
func (w *eventWriter) failed() {
	w.s.stats.eventErrors.Add(1)
	if w.file != nil {
		if err := w.retire(); err != nil {
			w.s.cfg.Logger.Warn("spool event file not closed", "error", err.Error())
		}
	}
	w.dirty = false
	w.through = w.syncedThrough.Load()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending.recycle()
	w.pending = newBatch()
	w.holds = w.through
	w.lagging = w.taken > w.holds
}

// shed removes the oldest event file, names what went, and counts it.
func (w *eventWriter) shed(why string) bool {
	if len(w.files) == 0 {
		return false
	}
	old := w.files[0]
	if err := w.s.fs.Remove(old.name); err != nil {
		w.s.cfg.Logger.Warn("spool event file not removed", "error", err.Error())
		return false
	}
	w.files = w.files[1:]
	w.total -= old.octets
	w.s.stats.shed.Add(1)
	w.s.stats.shedOctets.Add(old.octets)
	w.s.cfg.Logger.Warn("spool events shed", "reason", why, "file", path.Base(old.name), "octets", old.octets)
	body := le.AppendUint64([]byte{noteShed}, old.number)
	body = le.AppendUint64(body, 0)
	body = le.AppendUint64(body, uint64(nanos(w.s.cfg.Clock())))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending.add(recNote, flagGroup, envelope.ID{}, body)
	return true
}

// close writes and syncs everything and closes the file. All goroutines have
// ended.
func (w *eventWriter) close() error {
	err := w.flush()
	if err == nil {
		err = w.sync()
	}
	if w.file != nil && err == nil {
		err = w.file.Truncate(w.off)
	}
	return errors.Join(err, w.closeFiles())
}

func (w *eventWriter) closeFiles() error {
	if w.file == nil {
		return nil
	}
	f := w.file
	w.file = nil
	return f.Close()
}

// catchUp reads events from the main log that memory does not hold.
func (w *eventWriter) catchUp() error {
	w.mu.Lock()
	to := w.taken
	w.mu.Unlock()
	if err := w.fromLog(context.Background(), w.through, to); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds = max(w.holds, w.through)
	w.lagging = w.taken > w.holds
	w.s.stats.eventLag.Store(int64(w.taken - w.holds))
	return nil
}
