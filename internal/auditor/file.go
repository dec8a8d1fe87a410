package auditor

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"

	"github.com/postern-mail/postern/internal/envelope"
)

const (
	block       = 4096
	batchStart  = 2 * block
	edgeLen     = 96
	recordLen   = 32
	entryLen    = 32
	windowLen   = 256 << 10
	maxBodyRead = 64 << 20 // no body but content is longer; chosen: 65,536 forward-paths of 1,000 octets
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// window reads a file through one buffer.
type window struct {
	f    *os.File
	size int64
	at   int64
	buf  []byte // the file from at on
	mem  []byte
	err  error // the first error but io.EOF
}

func openWindow(name string) (*window, error) {
	f, err := os.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		_ = f.Close() // nothing was written
		if err == nil {
			err = errNotRegular
		}
		return nil, err
	}
	return &window{f: f, size: fi.Size(), mem: make([]byte, windowLen)}, nil
}

func (w *window) close() { _ = w.f.Close() } // read only: nothing can be lost

// peek returns n octets at off (n at most windowLen), valid until the next
// call, or nil when the file has not got them.
func (w *window) peek(off int64, n int) []byte {
	if off < 0 || off > w.size-int64(n) {
		return nil
	}
	if off < w.at || off+int64(n) > w.at+int64(len(w.buf)) {
		got, err := w.f.ReadAt(w.mem, off)
		if err != nil && err != io.EOF && w.err == nil {
			w.err = err
		}
		w.at, w.buf = off, w.mem[:got]
		if got < n {
			return nil
		}
	}
	return w.buf[off-w.at : off-w.at+int64(n)]
}

// read returns a copy of n octets at off, or nil.
func (w *window) read(off int64, n int) []byte {
	if off < 0 || n < 0 || off > w.size-int64(n) {
		return nil
	}
	b := make([]byte, n)
	if got, err := w.f.ReadAt(b, off); got < n {
		if err != io.EOF && w.err == nil {
			w.err = err
		}
		return nil
	}
	return b
}

// crc goes on from sum over n octets at off.
func (w *window) crc(sum uint32, off, n int64) (uint32, bool) {
	for n > 0 {
		k := min(n, windowLen/2)
		b := w.peek(off, int(k))
		if b == nil {
			return 0, false
		}
		sum = crc32.Update(sum, crcTable, b)
		off, n = off+k, n-k
	}
	return sum, true
}

// head is a file's header block.
type head struct {
	events bool
	reader uint16 // least reader version
	seed   uint64
	number uint64
	inc    envelope.Incarnation
	time   uint64
}

// readHead takes the first good copy; good counts them.
func readHead(w *window) (h head, good int) {
	for _, at := range []int64{0, block} {
		b := w.peek(at, block)
		if b == nil || crc32.Checksum(b[:block-4], crcTable) != binary.LittleEndian.Uint32(b[block-4:]) {
			continue
		}
		magic := string(b[:8])
		if magic != "PSTNSEG1" && magic != "PSTNEVT1" {
			continue
		}
		if good++; good > 1 {
			continue
		}
		c := over(b[8:])
		c.next(2)
		h = head{events: magic == "PSTNEVT1", reader: binary.LittleEndian.Uint16(c.next(2))}
		c.next(4)
		h.seed, h.number, h.inc = c.uint64(), c.uint64(), c.incarnation()
		c.next(6)
		c.uint64() // limit
		h.time = c.uint64()
	}
	return h, good
}

// edge is a batch header or trailer.
type edge struct {
	number, synced, base, first, time, through uint64
	octets, end, records, offset               uint32
}

func parseEdge(b []byte, magic string, seed uint64) (e edge, ok bool) {
	if string(b[:8]) != magic || binary.LittleEndian.Uint64(b[8:]) != seed {
		return e, false
	}
	c := over(b[16:])
	e.number, e.synced, e.base, e.first = c.uint64(), c.uint64(), c.uint64(), c.uint64()
	c.uint64() // limit
	e.time = c.uint64()
	e.octets, e.end, e.records, e.offset = c.uint32(), c.uint32(), c.uint32(), c.uint32()
	e.through = c.uint64()
	need := uint64(2*edgeLen) + uint64(e.records)*entryLen
	return e, e.octets%block == 0 && need <= uint64(e.octets) && e.end >= edgeLen && uint64(e.end) <= uint64(e.octets)-need+edgeLen
}

// seeded starts a sum: seed, batch number, offset of the first octet summed.
func seeded(seed, number uint64, at int64) uint32 {
	var b [24]byte
	binary.LittleEndian.PutUint64(b[0:], seed)
	binary.LittleEndian.PutUint64(b[8:], number)
	binary.LittleEndian.PutUint64(b[16:], uint64(at))
	return crc32.Update(0, crcTable, b[:])
}

// headerAt reads the batch header at off.
func headerAt(w *window, seed uint64, off int64) (edge, bool) {
	b := w.peek(off, edgeLen)
	if b == nil {
		return edge{}, false
	}
	e, ok := parseEdge(b, "PSTNBHDR", seed)
	if !ok || int64(e.offset) != off {
		return e, false
	}
	return e, crc32.Update(seeded(seed, e.number, off), crcTable, b[:92]) == binary.LittleEndian.Uint32(b[92:])
}

// trailerAt reads the batch trailer that ends at end.
func trailerAt(w *window, seed uint64, end int64) (edge, bool) {
	b := w.peek(end-edgeLen, edgeLen)
	if b == nil {
		return edge{}, false
	}
	e, ok := parseEdge(b, "PSTNBEND", seed)
	start := int64(e.offset)
	if !ok || start < batchStart || start%block != 0 || start+int64(e.octets) != end {
		return e, false
	}
	want := binary.LittleEndian.Uint32(b[92:])
	dir := end - edgeLen - int64(e.records)*entryLen
	sum, ok := w.crc(seeded(seed, e.number, dir), dir, end-edgeLen+92-dir)
	return e, ok && sum == want
}

// batch is one place in a file where a batch lies, or lay.
type batch struct {
	edge
	start, end      int64
	header, trailer bool // which of them is good; neither: a gap
}

// batches walks a file. Where no batch begins, it looks for the next header or
// trailer and yields what is between as a gap; free room at the end is none.
func batches(w *window, seed uint64, yield func(batch) bool) {
	for off := int64(batchStart); off < w.size; {
		b, ok := batchAt(w, seed, off)
		if !ok {
			if b, ok = nextBatch(w, seed, off); !ok {
				return
			}
			if b.start > off && !yield(batch{start: off, end: b.start}) {
				return
			}
		}
		if !yield(b) {
			return
		}
		off = b.end
	}
}

func batchAt(w *window, seed uint64, off int64) (batch, bool) {
	h, ok := headerAt(w, seed, off)
	if !ok {
		return batch{}, false
	}
	b := batch{edge: h, start: off, end: off + int64(h.octets), header: true}
	t, ok := trailerAt(w, seed, b.end)
	b.trailer = ok && t == h
	b.end = min(b.end, (w.size+block-1)/block*block)
	return b, true
}

// nextBatch finds the first batch at or behind off of which either end is good.
func nextBatch(w *window, seed uint64, off int64) (batch, bool) {
	for at := off; at < w.size; at += block {
		if at > off {
			if b, ok := batchAt(w, seed, at); ok {
				return b, true
			}
		}
		if t, ok := trailerAt(w, seed, at+block); ok && int64(t.offset) >= off {
			return batch{edge: t, start: int64(t.offset), end: at + block, trailer: true}, true
		}
	}
	return batch{}, false
}
