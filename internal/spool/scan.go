package spool

import (
	"errors"
	"fmt"
	"io"

	"github.com/postern-mail/postern/internal/durable"
)

// view is one batch as it lies in a file, or a range in which there is none.
type view struct {
	edge    edge
	off     int64
	octets  int64
	header  bool // the header is good
	trailer bool // the trailer and its directory are good
	bad     bool // a range without a batch, between batches
	raw     []byte
	sum     summer
}

// recordView is one record of a view.
type recordView struct {
	recordHeader
	pos  int
	good bool
	body []byte // only when good
	// rest says that from here to the end of the batch nothing can be told
	// apart: length and ID mean nothing.
	rest bool
}

// scanner walks the batches of a segment or event file. Only what bears the
// file's seed and a good sum is ever believed.
type scanner struct {
	f     io.ReaderAt
	size  int64
	seed  uint64
	weak  bool
	light bool // headers only: records are not read
	off   int64
	buf   []byte
	ahead view // a batch found behind a bad range
	found bool
	// stop bounds a look for the next batch; 0: the end of the file.
	window []byte
	winOff int64
}

// scanWindow is how much is read at once while looking for a batch. Chosen.
const scanWindow = 1 << 20

func newScanner(f durable.File, seed uint64, weak bool) (*scanner, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	return &scanner{f: f, size: size, seed: seed, weak: weak, off: firstBatch}, nil
}

// next returns the next batch or bad range. ok is false at the end; an error
// is one of reading. The view's raw is good until the next call.
func (sc *scanner) next() (v view, ok bool, err error) {
	if sc.found {
		sc.found = false
		v = sc.ahead
		sc.off = v.off + v.octets
		return v, true, nil
	}
	if sc.off+2*edgeOctets > sc.size {
		return v, false, nil
	}
	v, good, err := sc.at(sc.off)
	if err != nil {
		return v, false, err
	}
	if good {
		sc.off += v.octets
		return v, true, nil
	}
	return sc.resume()
}

// at reads the batch whose header begins at off.
func (sc *scanner) at(off int64) (v view, ok bool, err error) {
	head, err := sc.peek(off, edgeOctets)
	if err != nil || head == nil {
		return v, false, err
	}
	if !v.edge.decode(head, magicHeader, sc.seed, sc.weak) || !sc.weak && int64(v.edge.offset) != off ||
		off+int64(v.edge.octets) > sc.size {
		return v, false, nil
	}
	v.sum = newSummer(sc.seed, v.edge.number, sc.weak)
	if le.Uint32(head[92:]) != v.sum.sum(off, head[:92]) {
		return v, false, nil
	}
	v.off, v.octets, v.header = off, int64(v.edge.octets), true
	if sc.light {
		return v, true, nil
	}
	if v.raw, err = sc.read(off, int(v.octets)); err != nil {
		return v, false, err
	}
	v.trailer = sc.checkTrailer(&v)
	return v, true, nil
}

// checkTrailer checks the trailer of a batch whose header is good.
func (sc *scanner) checkTrailer(v *view) bool {
	var t edge
	end := v.raw[len(v.raw)-edgeOctets:]
	if !t.decode(end, magicTrailer, sc.seed, sc.weak) || t.number != v.edge.number || t.octets != v.edge.octets ||
		t.records != v.edge.records {
		return false
	}
	return sc.trailerSum(v, &t)
}

func (sc *scanner) trailerSum(v *view, t *edge) bool {
	dirAt := len(v.raw) - edgeOctets - int(t.records)*dirOctets
	return le.Uint32(v.raw[len(v.raw)-4:]) == v.sum.sum(v.off+int64(dirAt), v.raw[dirAt:len(v.raw)-4])
}

// resume looks, after a place where no good header is, for the next block
// boundary with one, or for a trailer whose header was destroyed.
func (sc *scanner) resume() (v view, ok bool, err error) {
	start := sc.off
	for p := start + block; p <= sc.size; p += block {
		v, ok, err = sc.byTrailer(start, p)
		if err == nil && !ok && p < sc.size {
			v, ok, err = sc.at(p)
		}
		if err != nil {
			return v, false, err
		}
		if !ok {
			continue
		}
		if v.off == start {
			sc.off = v.off + v.octets
			return v, true, nil
		}
		sc.ahead, sc.found = v, true
		return view{bad: true, off: start, octets: v.off - start}, true, nil
	}
	return view{}, false, nil
}

// byTrailer reads the batch that ends at p and begins at or after start.
func (sc *scanner) byTrailer(start, p int64) (v view, ok bool, err error) {
	end, err := sc.peek(p-edgeOctets, edgeOctets)
	if err != nil || end == nil {
		return v, false, err
	}
	if !v.edge.decode(end, magicTrailer, sc.seed, sc.weak) {
		return v, false, nil
	}
	v.off, v.octets = p-int64(v.edge.octets), int64(v.edge.octets)
	if v.off < start || !sc.weak && v.off != int64(v.edge.offset) {
		return v, false, nil
	}
	v.sum = newSummer(sc.seed, v.edge.number, sc.weak)
	if v.raw, err = sc.read(v.off, int(v.octets)); err != nil {
		return v, false, err
	}
	t := v.edge
	v.trailer = sc.trailerSum(&v, &t)
	return v, v.trailer, nil
}

// tail reports whether something at the scanner's end looks like the beginning
// of a batch of this use of the file: a torn one.
func (sc *scanner) tail() bool {
	head, err := sc.peek(sc.off, edgeOctets)
	return err == nil && head != nil && string(head[:8]) == magicHeader && le.Uint64(head[8:]) == sc.seed
}

// peek returns n octets at off from a window that is read at once, nil when
// the file ends before.
func (sc *scanner) peek(off int64, n int) ([]byte, error) {
	if off < sc.winOff || off+int64(n) > sc.winOff+int64(len(sc.window)) {
		size := scanWindow
		if sc.light && !sc.found {
			size = block // jumping from header to header
		}
		if cap(sc.window) < scanWindow {
			sc.window = make([]byte, scanWindow)
		}
		want := min(int64(size), sc.size-off)
		if want < int64(n) {
			return nil, nil
		}
		got, err := readFull(sc.f, sc.window[:want], off)
		if err != nil {
			return nil, err
		}
		sc.window, sc.winOff = sc.window[:got], off
		if got < n {
			return nil, nil
		}
	}
	at := int(off - sc.winOff)
	return sc.window[at : at+n], nil
}

// read returns n octets at off in the scanner's own buffer.
func (sc *scanner) read(off int64, n int) ([]byte, error) {
	if cap(sc.buf) < n {
		sc.buf = make([]byte, n, n+n/4)
	}
	b := sc.buf[:n]
	got, err := readFull(sc.f, b, off)
	if err == nil && got < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

func readFull(f io.ReaderAt, b []byte, off int64) (int, error) {
	n, err := f.ReadAt(b, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("read %d octets at %d: %w", len(b), off, err)
	}
	return n, err
}

// records yields every record of the batch, good or bad, in order.
func (v *view) records(yield func(recordView) bool) {
	if v.trailer {
		v.byDirectory(yield)
	} else {
		v.byWalking(yield)
	}
}

func (v *view) byDirectory(yield func(recordView) bool) {
	dir := v.raw[len(v.raw)-edgeOctets-int(v.edge.records)*dirOctets:]
	for range v.edge.records {
		var r recordView
		r.recordHeader.decode(dir)
		dir = dir[dirOctets:]
		r.pos = int(r.offset)
		end := r.pos + recordOctets + int(r.length)
		if r.pos >= edgeOctets && end <= len(v.raw) && end > r.pos {
			rec := v.raw[r.pos:end]
			r.good = v.sum.record(v.off+int64(r.pos), rec) == r.sum
			r.body = rec[recordOctets:]
		}
		if !yield(r) {
			return
		}
	}
}

// allGood reports whether every record is good.
func (v *view) allGood() bool {
	good := true
	v.records(func(r recordView) bool {
		good = good && r.good
		return good
	})
	return good
}

// byWalking follows the lengths in the records. A length that a bad record
// gives is believed only when a good record follows.
func (v *view) byWalking(yield func(recordView) bool) {
	pos := edgeOctets
	for n := uint32(0); n < v.edge.records; n++ {
		r, ok := v.recordAt(pos)
		if !ok || !r.good && !v.goodAfter(pos, r.length) {
			yield(recordView{pos: pos, rest: true})
			return
		}
		if !yield(r) {
			return
		}
		pos += padded(int(r.length))
	}
}

func (v *view) recordAt(pos int) (r recordView, ok bool) {
	if pos+recordOctets > int(v.edge.payload) {
		return r, false
	}
	r.recordHeader.decode(v.raw[pos:])
	r.pos = pos
	end := int64(pos) + recordOctets + int64(r.length)
	if end > int64(v.edge.payload) {
		return r, false
	}
	rec := v.raw[pos:end]
	r.good = v.sum.record(v.off+int64(pos), rec) == r.sum
	r.body = rec[recordOctets:]
	return r, true
}

func (v *view) goodAfter(pos int, length uint32) bool {
	at := pos + padded(int(length))
	if at >= int(v.edge.payload) {
		return at == int(v.edge.payload)
	}
	r, ok := v.recordAt(at)
	return ok && r.good
}
