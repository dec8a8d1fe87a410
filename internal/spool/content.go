package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
)

// errMoved says that a message was copied forward or ended between looking it
// up and reading it.
var errMoved = errors.New("moved meanwhile")

// wholeMax is up to which size content is read into memory, checked there and
// served from there: one read, and the check costs no second one. Chosen.
const wholeMax = 64 << 10

// Content is a live message's content, open for reading; its octets were
// checked before it was given out. It is safe for concurrent use until Close.
type Content struct {
	size  int64
	whole []byte // up to wholeMax: all of it
	pool  *[]byte
	file  durable.File // else: here, from off
	off   int64
	close func() error
}

var wholePool = sync.Pool{New: func() any { b := make([]byte, 0, draftFirst); return &b }}

// Size is the number of octets.
func (c *Content) Size() int64 { return c.size }

// ReadAt implements io.ReaderAt.
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= c.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.size-off))
	if c.file == nil {
		copy(p, c.whole[off:])
	} else if got, err := readFull(c.file, p[:n], c.off+off); err != nil || got < n {
		return got, errors.Join(err, fmt.Errorf("content ends early: %w", ErrDamaged))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteTo implements io.WriterTo.
func (c *Content) WriteTo(w io.Writer) (int64, error) {
	if c.file == nil {
		n, err := w.Write(c.whole)
		return int64(n), err
	}
	return io.Copy(w, io.NewSectionReader(c, 0, c.size))
}

// Close gives the memory and the segment back. It is called once.
func (c *Content) Close() error {
	if c.pool != nil {
		wholePool.Put(c.pool)
		c.pool, c.whole, c.size = nil, nil, 0
	}
	if c.close != nil {
		return c.close()
	}
	return nil
}

// Content opens a live message's content. ErrGone, ErrDamaged.
func (s *Spool) Content(id envelope.ID) (*Content, error) {
	for {
		s.idx.mu.RLock()
		e, ok := s.idx.get(id)
		s.idx.mu.RUnlock()
		if !ok {
			return nil, fmt.Errorf("content of %v: %w", id, ErrGone)
		}
		c, err := s.openContent(id, &e)
		if errors.Is(err, errMoved) {
			continue
		}
		return c, err
	}
}

func (s *Spool) openContent(id envelope.ID, e *entry) (*Content, error) {
	env, ref, err := s.readAccept(id, e)
	if err != nil {
		return nil, err
	}
	if ref.draft {
		return s.openDraft(id, env.Size, ref)
	}
	seg := s.pin(uint64(e.segment))
	if seg == nil {
		return nil, s.vanished(id, e)
	}
	at := recordPlace{batch: e.batch, off: int64(e.offset) - int64(ref.distance), octets: recordOctets + 8 + env.Size, typ: recContent}
	c, err := openInline(seg, s.weakSums, at)
	if err != nil {
		seg.pins.Add(-1)
		return nil, fmt.Errorf("content of %v in %s at %d: %w", id, seg.name, at.off, err)
	}
	if c.file == nil {
		seg.pins.Add(-1)
	} else {
		c.close = func() error { seg.pins.Add(-1); return nil }
	}
	return c, nil
}

// readAccept reads the accept or copy record that e names.
func (s *Spool) readAccept(id envelope.ID, e *entry) (*envelope.Envelope, contentRef, error) {
	seg := s.pin(uint64(e.segment))
	if seg == nil {
		return nil, contentRef{}, s.vanished(id, e)
	}
	defer seg.pins.Add(-1)
	pool := wholePool.Get().(*[]byte)
	defer wholePool.Put(pool)
	at := recordPlace{batch: e.batch, off: int64(e.offset), octets: int64(e.length), typ: recAccept}
	body, err := readRecord(seg, s.weakSums, at, pool)
	if err != nil {
		return nil, contentRef{}, fmt.Errorf("accept of %v in %s at %d: %w", id, seg.name, e.offset, err)
	}
	r := reader{b: body}
	env, ref, err := r.accept(id)
	if err != nil {
		return nil, ref, fmt.Errorf("accept of %v in %s at %d: %w: %w", id, seg.name, e.offset, ErrDamaged, err)
	}
	return env, ref, nil
}

// vanished tells a message that was copied forward meanwhile, or ended, from
// one whose segment cannot be read.
func (s *Spool) vanished(id envelope.ID, e *entry) error {
	s.idx.mu.RLock()
	now, ok := s.idx.get(id)
	s.idx.mu.RUnlock()
	if !ok || now.segment != e.segment {
		return errMoved
	}
	return fmt.Errorf("%v: segment %d is gone: %w", id, e.segment, ErrDamaged)
}

// pin keeps a segment from being freed; nil when it already is.
func (s *Spool) pin(n uint64) *segment {
	s.segMu.RLock()
	defer s.segMu.RUnlock()
	seg := s.segs[n]
	if seg == nil || seg.bad || seg.file == nil {
		return nil
	}
	seg.pins.Add(1)
	return seg
}

// recordPlace says which record is wanted, and what it must be.
type recordPlace struct {
	batch  uint64
	off    int64
	octets int64 // header and body
	typ    recordType
}

// readRecord reads and checks one record into pool's buffer; the body is good
// until the buffer is used again.
func readRecord(seg *segment, weak bool, at recordPlace, pool *[]byte) ([]byte, error) {
	n := int(at.octets)
	if at.off < firstBatch || n < recordOctets {
		return nil, fmt.Errorf("no record at %d: %w", at.off, ErrDamaged)
	}
	if cap(*pool) < n {
		*pool = make([]byte, 0, n+n/4)
	}
	b := (*pool)[:n]
	got, err := readFull(seg.file, b, at.off)
	if err != nil || got < n {
		return nil, errors.Join(err, ErrDamaged)
	}
	sum := newSummer(seg.seed, at.batch, weak)
	if sum.record(at.off, b) == le.Uint32(b[28:]) && at.is(b) || at.rescue(seg, weak) {
		return b[recordOctets:], nil
	}
	return nil, ErrDamaged
}

// is reports whether a record header is of the wanted type and length.
func (at *recordPlace) is(b []byte) bool {
	typ := recordType(b[0])
	return (typ == at.typ || at.typ == recAccept && typ == recCopy) && int64(le.Uint32(b[4:])) == at.octets-recordOctets
}

// rescue asks the batch's directory, which has the sums a second time: the one
// in the record may be what was hit.
func (at *recordPlace) rescue(seg *segment, weak bool) bool {
	sc, err := newScanner(seg.file, seg.seed, weak)
	if err != nil {
		return false
	}
	sc.light = true
	for {
		v, ok, err := sc.next()
		if err != nil || !ok {
			return false
		}
		if v.bad || v.off+v.octets <= at.off {
			continue
		}
		sc.light = false
		if v.raw == nil {
			if v, ok, err = sc.at(v.off); err != nil || !ok {
				return false
			}
		}
		return at.among(&v)
	}
}

func (at *recordPlace) among(v *view) (good bool) {
	v.records(func(r recordView) bool {
		if v.off+int64(r.pos) == at.off {
			good = r.good && r.length == uint32(at.octets-recordOctets) && v.edge.number == at.batch
		}
		return !good
	})
	return good
}

// openInline checks a content record and opens it.
func openInline(seg *segment, weak bool, at recordPlace) (*Content, error) {
	c := &Content{size: at.octets - recordOctets - 8}
	if c.size <= wholeMax {
		pool := wholePool.Get().(*[]byte)
		body, err := readRecord(seg, weak, at, pool)
		if err != nil {
			wholePool.Put(pool)
			return nil, err
		}
		c.whole, c.pool = body[8:], pool
		return c, nil
	}
	var head [recordOctets]byte
	if n, err := readFull(seg.file, head[:], at.off); err != nil || n < recordOctets {
		return nil, errors.Join(err, ErrDamaged)
	}
	sums := newSummer(seg.seed, at.batch, weak)
	sum := crc32.Update(sums.start(at.off), castagnoli, head[:28])
	sum, err := sumFile(seg.file, sum, at.off+recordOctets, at.octets-recordOctets)
	if err != nil {
		return nil, err
	}
	if (sum != le.Uint32(head[28:]) || !at.is(head[:])) && !at.rescue(seg, weak) {
		return nil, ErrDamaged
	}
	c.file, c.off = seg.file, at.off+recordOctets+8
	return c, nil
}

// sumFile continues a CRC over n octets at off.
func sumFile(f io.ReaderAt, sum uint32, off, n int64) (uint32, error) {
	pool := wholePool.Get().(*[]byte)
	defer wholePool.Put(pool)
	if cap(*pool) < draftFirst {
		*pool = make([]byte, 0, draftFirst)
	}
	b := (*pool)[:cap(*pool)]
	for n > 0 {
		got, err := readFull(f, b[:min(int64(len(b)), n)], off)
		if err != nil {
			return 0, err
		}
		if got == 0 {
			return 0, fmt.Errorf("%d octets are missing: %w", n, ErrDamaged)
		}
		sum = crc32.Update(sum, castagnoli, b[:got])
		off, n = off+int64(got), n-int64(got)
	}
	return sum, nil
}

// openDraft opens a draft file after its size and sum were checked.
func (s *Spool) openDraft(id envelope.ID, size int64, ref contentRef) (*Content, error) {
	f, err := s.fs.Open(draftName(s.dir, ref.id))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && !s.isLive(id) {
			return nil, fmt.Errorf("content of %v: %w", id, ErrGone)
		}
		return nil, fmt.Errorf("content of %v: %w: %w", id, ErrDamaged, err)
	}
	sum, err := sumFile(f, 0, 0, size)
	if got, serr := f.Size(); err == nil && (serr != nil || got != size || sum != ref.sum) {
		err = errors.Join(serr, ErrDamaged)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("content of %v in %s: %w", id, draftName(s.dir, ref.id), err), f.Close())
	}
	return &Content{size: size, file: f, close: f.Close}, nil
}

func (s *Spool) isLive(id envelope.ID) bool {
	s.idx.mu.RLock()
	defer s.idx.mu.RUnlock()
	_, ok := s.idx.get(id)
	return ok
}
