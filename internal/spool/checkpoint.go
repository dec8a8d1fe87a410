package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"syscall"
	"time"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/telemetry"
)

// Kinds of chunk.
const (
	chunkSegments = 1 + iota
	chunkLedger
	chunkEntries
	chunkScars
	chunkAdopted
	chunkEnd
)

const (
	chunkHead   = 16
	chunkOctets = 256 << 10 // about when a chunk of entries is written
	// maxChunk bounds what a reader believes: one stripe can hold a message
	// with 65,535 recipients.
	maxChunk = 64 << 20
)

// checkpointHeader is the first 96 octets of a checkpoint.
type checkpointHeader struct {
	minReader   uint16
	number      uint64
	incarnation envelope.Incarnation
	batch       uint64
	segment     uint64
	offset      int64
	limit       uint64
	time        time.Time
	since       time.Time
	gap         bool
}

func (h *checkpointHeader) encode(b []byte) {
	clear(b[:edgeOctets])
	copy(b, magicCheckpoint)
	le.PutUint16(b[8:], formatVersion)
	le.PutUint16(b[10:], formatVersion)
	le.PutUint64(b[16:], h.number)
	copy(b[24:34], h.incarnation[:])
	le.PutUint64(b[40:], h.batch)
	le.PutUint64(b[48:], h.segment)
	le.PutUint64(b[56:], uint64(h.offset))
	le.PutUint64(b[64:], h.limit)
	le.PutUint64(b[72:], uint64(nanos(h.time)))
	le.PutUint64(b[80:], uint64(nanos(h.since)))
	if h.gap {
		le.PutUint32(b[88:], 1)
	}
	le.PutUint32(b[92:], crc32.Checksum(b[:92], castagnoli))
}

func (h *checkpointHeader) decode(b []byte) bool {
	if len(b) < edgeOctets || string(b[:8]) != magicCheckpoint || le.Uint32(b[92:]) != crc32.Checksum(b[:92], castagnoli) {
		return false
	}
	*h = checkpointHeader{
		minReader: le.Uint16(b[10:]),
		number:    le.Uint64(b[16:]),
		batch:     le.Uint64(b[40:]), segment: le.Uint64(b[48:]), offset: int64(le.Uint64(b[56:])),
		limit: le.Uint64(b[64:]), time: fromNanos(int64(le.Uint64(b[72:]))), since: fromNanos(int64(le.Uint64(b[80:]))),
		gap: le.Uint32(b[88:])&1 != 0,
	}
	copy(h.incarnation[:], b[24:34])
	return h.minReader <= formatVersion
}

// snapshot is the state after one batch while it is being written out.
type snapshot struct {
	head   checkpointHeader
	ledger []byte
	seeds  []byte
	scars  []byte
	adopt  []byte
	saved  []byte // entries that were saved and not yet written
	count  uint64
}

// startSnapshot begins a checkpoint of the state now. The committer calls it
// between batches; everything up to here is synced first.
func (s *Spool) startSnapshot() {
	if err := s.syncHead(forCheckpoint); err != nil {
		s.fail(nil, err)
		return
	}
	s.handOver()
	c := &s.commit
	if c.head == nil {
		return
	}
	sn := &snapshot{head: checkpointHeader{
		incarnation: s.incarnation, batch: c.last, segment: c.head.number, offset: c.off,
		limit: s.commitLimit, time: s.cfg.Clock(), since: s.since, gap: s.gap,
	}}
	s.segMu.RLock()
	for _, seg := range s.segs {
		sn.seeds = le.AppendUint64(sn.seeds, seg.number)
		sn.seeds = le.AppendUint64(sn.seeds, seg.seed)
	}
	s.segMu.RUnlock()
	s.keep.describe(sn)
	x := s.idx
	x.mu.Lock()
	if x.snap == nil {
		sn.ledger = x.appendLedger(nil)
		x.snapGen++
		x.snap = sn
	}
	x.mu.Unlock()
	s.nudgeKeeper()
}

// touch saves a stripe for the running snapshot before it changes. x.mu is held.
func (x *index) touch(i int) {
	if x.snap == nil || x.stripes[i].saved == x.snapGen {
		return
	}
	x.stripes[i].saved = x.snapGen
	for id, e := range x.stripes[i].m {
		x.snap.saved = x.appendEntry(x.snap.saved, id, &e)
		x.snap.count++
	}
}

func (x *index) appendEntry(b []byte, id envelope.ID, e *entry) []byte {
	b = append(b, id[:]...)
	b = appendStr(b, x.tenants.name(e.tenant))
	b = append(b, byte(e.kind), e.flags)
	b = binary.AppendUvarint(b, uint64(e.segment))
	b = binary.AppendUvarint(b, uint64(e.offset))
	b = binary.AppendUvarint(b, uint64(e.length))
	b = binary.AppendUvarint(b, e.batch)
	b = le.AppendUint64(b, uint64(e.arrival))
	b = binary.AppendUvarint(b, uint64(e.size))
	if e.flags&entryDraft != 0 {
		d := x.draftOf[id]
		b = append(b, d[:]...)
	}
	b = binary.AppendUvarint(b, uint64(e.count))
	for _, r := range x.recipients(id, e) {
		b = append(b, byte(r.state), byte(r.cause))
		b = binary.AppendUvarint(b, uint64(r.attempts))
		b = le.AppendUint64(b, uint64(r.next))
		b = appendStr(b, x.domains.name(r.domain))
	}
	return b
}

// readEntry adds an entry without touching the ledger: a checkpoint's own
// ledger has counted it, but for what lives now.
func (x *index) readEntry(r *reader) error {
	id := r.id()
	e := entry{tenant: x.tenant(string(r.octets())), kind: envelope.Kind(r.u8()), flags: r.u8()}
	e.segment, e.offset, e.length = uint32(r.uvarint()), uint32(r.uvarint()), uint32(r.uvarint())
	e.batch = r.uvarint()
	e.arrival = int64(r.u64())
	e.size = uint32(r.uvarint())
	var draft envelope.ID
	if e.flags&entryDraft != 0 {
		draft = r.id()
	}
	n := r.count()
	if r.bad || n == 0 || n >= maxRecipients {
		return errBody
	}
	e.count = uint16(n)
	list := e.one[:]
	if n > 1 {
		list = make([]recipient, n)
		x.more[id] = list
	}
	l := &x.ledger[e.tenant]
	for i := range list {
		list[i].state = envelope.State(r.u8())
		s := r.u8()
		list[i].cause = causeOf(s)
		list[i].attempts = uint32(r.uvarint())
		list[i].next = int64(r.u64())
		list[i].domain = x.domains.takeOctets(r.octets())
		if !list[i].state.Terminal() {
			l.count(list[i].state, 1)
		}
	}
	if r.bad {
		return errBody
	}
	x.put(id, e)
	x.live++
	u := x.use(e.segment)
	u.messages++
	u.octets += e.held()
	u.pinned = u.pinned || e.flags&entryDoubt != 0
	if !draft.IsZero() {
		x.drafts[draft]++
		x.draftOf[id] = draft
	}
	return nil
}

// checkpointWriter writes chunks.
type checkpointWriter struct {
	f   durable.File
	off int64
	buf []byte
}

func (w *checkpointWriter) chunk(kind byte, body []byte) error {
	w.buf = append(w.buf[:0], kind, 0, 0, 0)
	w.buf = le.AppendUint32(w.buf, uint32(len(body)))
	sum := crc32.Update(crc32.Checksum(w.buf[:8], castagnoli), castagnoli, body)
	w.buf = le.AppendUint32(w.buf, sum)
	w.buf = append(w.buf, 0, 0, 0, 0)
	w.buf = append(w.buf, body...)
	n, err := w.f.WriteAt(w.buf, w.off)
	w.off += int64(n)
	return err
}

// writeCheckpoint writes the running snapshot out, if there is one.
func (s *Spool) writeCheckpoint() error {
	s.idx.mu.RLock()
	sn := s.idx.snap
	s.idx.mu.RUnlock()
	if sn == nil {
		return nil
	}
	telemetry.FailPoint("spool.checkpoint.before-write")
	s.keep.lastNumber++
	sn.head.number = s.keep.lastNumber
	name := checkpointName(s.dir, sn.head.number)
	octets, err := s.writeSnapshot(sn, name+".tmp")
	if errors.Is(err, syscall.ENOSPC) {
		s.useBallast(max(s.keep.size+s.keep.size/4, 64<<10), false)
	}
	s.idx.mu.Lock()
	s.idx.snap = nil
	s.idx.mu.Unlock()
	if err == nil {
		telemetry.FailPoint("spool.checkpoint.before-rename")
		err = s.fs.Rename(name+".tmp", name)
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		s.stats.checkpointErrors.Add(1)
		return fmt.Errorf("write %s: %w", name, err)
	}
	telemetry.FailPoint("spool.checkpoint.after-rename")
	s.stats.checkpoints.Add(1)
	s.keep.completed(sn.head, octets)
	return s.dropOldCheckpoints()
}

func (s *Spool) writeSnapshot(sn *snapshot, name string) (octets int64, err error) {
	f, err := s.fs.Create(name)
	if err != nil {
		return 0, err
	}
	w := &checkpointWriter{f: f, off: edgeOctets}
	err = w.chunk(chunkSegments, sn.seeds)
	if err == nil {
		err = w.chunk(chunkLedger, sn.ledger)
	}
	if err == nil {
		err = w.chunk(chunkScars, sn.scars)
	}
	if err == nil {
		err = w.chunk(chunkAdopted, sn.adopt)
	}
	if err == nil {
		err = s.writeEntries(w, sn)
	}
	if err == nil {
		err = w.chunk(chunkEnd, le.AppendUint64(nil, sn.count))
	}
	if err == nil {
		var head [edgeOctets]byte
		sn.head.encode(head[:])
		_, err = f.WriteAt(head[:], 0)
	}
	began := time.Now()
	if err == nil {
		err = f.Sync()
		s.stats.sync(forCheckpoint, time.Since(began))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(err, s.fs.Remove(name))
	}
	return w.off, nil
}

// writeEntries saves stripe after stripe, a short lock each, and writes what
// has come together.
func (s *Spool) writeEntries(w *checkpointWriter, sn *snapshot) error {
	x := s.idx
	var spare []byte
	for i := range stripes {
		x.mu.Lock()
		x.touch(i)
		var out []byte
		if len(sn.saved) >= chunkOctets || i == stripes-1 {
			out, sn.saved = sn.saved, spare[:0]
		}
		x.mu.Unlock()
		if len(out) == 0 {
			continue
		}
		if err := w.chunk(chunkEntries, out); err != nil {
			return err
		}
		spare = out
	}
	return nil
}
