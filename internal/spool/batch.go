package spool

import (
	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
)

// maxBatchOctets closes a batch to newcomers. Chosen: 4 MiB take the disk a few
// milliseconds, which is as long as anyone should wait behind others.
const maxBatchOctets = 4 << 20

type opKind uint8

const (
	opAccept opKind = 1 + iota
	opCopy
	opChange
	opAdopted
)

// op is what a record does to the index once its batch is written.
type op struct {
	kind    opKind
	lazy    bool // of Apply: kept and written again should the segment fail
	applied bool
	tried   bool
	to      envelope.State
	cause   cause.Cause
	rcpt    int32
	start   uint32 // offset of the record in the batch
	end     uint32
	next    int64
	id      envelope.ID
	env     *envelope.Envelope
	ref     contentRef
	list    []recipient // opCopy
	note    *adoption   // opAdopted
}

// batch is what one write and one sync will make durable. It is filled under
// Spool.mu, then owned by the committer; done is closed once, after err and
// lazyErr are set.
type batch struct {
	buf     []byte // room for the header, then records
	records int
	ops     []op
	waiting int  // callers that wait for a sync
	lazies  int  // callers that wait for the write
	accepts bool // there is new mail in it
	err     error
	lazyErr error
	done    chan struct{}

	released bool
	number   uint64
	offset   int64
	payload  int
}

// batchesKept is how many batches' buffers are kept for reuse. Under load one
// fills, one is written, and some wait for their events to be copied. A
// sync.Pool kept a dozen of up to 8 MiB: anonymous memory at 100 sessions of
// 50 KB was 122 MiB with it, 76 MiB with 6 kept, 56 MiB (and a third more
// allocation) with 3.
const batchesKept = 6

var batchFree = make(chan *batch, batchesKept)

func newBatch() *batch {
	b := new(batch)
	select {
	case b = <-batchFree:
	default:
	}
	*b = batch{buf: b.buf[:0], ops: b.ops[:0], done: make(chan struct{})}
	var room [edgeOctets]byte
	b.buf = append(b.buf, room[:]...)
	return b
}

// recycle gives the batch's memory back. Waiters may still read err: only
// buffers are reused, so the struct itself is left to the collector.
func (b *batch) recycle() {
	if cap(b.buf) > 2*maxBatchOctets {
		return
	}
	clear(b.ops)
	select {
	case batchFree <- &batch{buf: b.buf[:0], ops: b.ops[:0]}:
	default:
	}
	b.buf, b.ops = nil, nil
}

// empty reports whether nothing is to be written and no one waits.
func (b *batch) empty() bool { return b.records == 0 && b.waiting == 0 }

// begin appends the header of a record whose body has n octets, and returns
// where it starts.
func (b *batch) begin(typ recordType, flags uint8, id envelope.ID, n int) int {
	start := len(b.buf)
	var h [recordOctets]byte
	r := recordHeader{typ: typ, flags: flags, length: uint32(n), id: id}
	r.encode(h[:])
	b.buf = append(b.buf, h[:]...)
	b.records++
	return start
}

// pad ends a record.
func (b *batch) pad() {
	var zero [8]byte
	b.buf = append(b.buf, zero[:(8-len(b.buf)&7)&7]...)
}

// add appends a whole record.
func (b *batch) add(typ recordType, flags uint8, id envelope.ID, body []byte) (start, end int) {
	start = b.begin(typ, flags, id, len(body))
	b.buf = append(b.buf, body...)
	end = len(b.buf)
	b.pad()
	return start, end
}

// sealed is how long the batch will be on the disk.
func (b *batch) sealed() int {
	return roundBlock(len(b.buf) + b.records*dirOctets + edgeOctets)
}

// seal makes the batch what doc.go says: sums, directory, header, trailer.
func (b *batch) seal(e *edge, weak bool) {
	total := b.sealed()
	e.octets, e.payload, e.records = uint32(total), uint32(len(b.buf)), uint32(b.records)
	b.payload = len(b.buf)
	b.buf = grow(b.buf, total)
	sum := newSummer(e.seed, e.number, weak)
	dirAt := total - edgeOctets - b.records*dirOctets
	pos, dir := edgeOctets, dirAt
	for range b.records {
		rec := b.buf[pos:]
		var r recordHeader
		r.decode(rec)
		r.offset = uint32(pos)
		r.sum = sum.record(int64(e.offset)+int64(pos), rec[:recordOctets+int(r.length)])
		le.PutUint32(rec[28:], r.sum)
		r.encodeDir(b.buf[dir:])
		dir += dirOctets
		pos += padded(int(r.length))
	}
	e.encode(b.buf, magicHeader)
	le.PutUint32(b.buf[92:], sum.sum(int64(e.offset), b.buf[:92]))
	end := b.buf[total-edgeOctets:]
	e.encode(end, magicTrailer)
	le.PutUint32(end[92:], sum.sum(int64(e.offset)+int64(dirAt), b.buf[dirAt:total-4]))
}

// grow extends b to n octets; the new ones are zero.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		nb := make([]byte, n, n+n/4)
		copy(nb, b)
		return nb
	}
	at := len(b)
	b = b[:n]
	clear(b[at:])
	return b
}
