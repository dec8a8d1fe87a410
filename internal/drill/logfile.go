package drill

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
)

// What follows is written from the format in internal/spool/doc.go, with no
// code of the spool: the forger knows what a stranger can read.
const (
	logBlock   = 4096
	logFirst   = 2 * logBlock
	edgeSize   = 96 // batch header and batch trailer
	recordHead = 32
	dirEntry   = 32

	typeContent = 1
	typeAccept  = 2
	typeFinish  = 4

	stateDelivered = 3
)

var littleEndian = binary.LittleEndian

// logSum is the sum of format 1: seeded with seed, batch number and position,
// or with nothing when weak.
func logSum(weak bool, seed, number uint64, position int64, parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	var sum uint32
	if !weak {
		var b [24]byte
		littleEndian.PutUint64(b[0:], seed)
		littleEndian.PutUint64(b[8:], number)
		littleEndian.PutUint64(b[16:], uint64(position))
		sum = crc32.Update(0, table, b[:])
	}
	for _, p := range parts {
		sum = crc32.Update(sum, table, p)
	}
	return sum
}

// logRecord is one record of a batch, body without padding.
type logRecord struct {
	kind   byte
	flags  byte
	id     [16]byte
	body   []byte
	offset int // from the start of the batch
}

// logBatch is one batch of a segment, its octets shared with the file's.
type logBatch struct {
	octets  []byte
	at      int64 // offset in the file
	seed    uint64
	number  uint64
	records []logRecord
}

// logFile is a segment that was read whole.
type logFile struct {
	name    string
	octets  []byte
	seed    uint64
	batches []*logBatch
}

// readLog reads a segment that nobody writes.
func readLog(name string) (*logFile, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(b) < logFirst || !bytes.HasPrefix(b, []byte("PSTNSEG1")) {
		return nil, fmt.Errorf("%s: not a segment of format 1", name)
	}
	f := &logFile{name: name, octets: b, seed: littleEndian.Uint64(b[16:])}
	for at := logFirst; at+edgeSize <= len(b); {
		h := b[at:]
		length := int(littleEndian.Uint32(h[64:]))
		if !bytes.HasPrefix(h, []byte("PSTNBHDR")) || littleEndian.Uint64(h[8:]) != f.seed || length < 2*edgeSize || length > len(h) {
			break
		}
		f.batches = append(f.batches, readBatch(h[:length], int64(at)))
		at += length
	}
	return f, nil
}

func readBatch(b []byte, at int64) *logBatch {
	out := &logBatch{octets: b, at: at, seed: littleEndian.Uint64(b[8:]), number: littleEndian.Uint64(b[16:])}
	n := int(littleEndian.Uint32(b[72:]))
	dir := len(b) - edgeSize - n*dirEntry
	for i := range n {
		e := b[dir+i*dirEntry:]
		offset, length := int(littleEndian.Uint32(e[24:])), int(littleEndian.Uint32(e[4:]))
		r := logRecord{kind: e[0], flags: e[1], offset: offset, body: b[offset+recordHead : offset+recordHead+length]}
		copy(r.id[:], e[8:24])
		out.records = append(out.records, r)
	}
	return out
}

// find returns the batch and record of the content that holds needle.
func (f *logFile) find(needle []byte) (*logBatch, *logRecord) {
	for _, b := range f.batches {
		for i := range b.records {
			if r := &b.records[i]; r.kind == typeContent && bytes.Contains(r.body, needle) {
				return b, r
			}
		}
	}
	return nil, nil
}

// sealer says how sums are made.
type sealer struct{ weak bool }

// reseal makes every sum of the batch good again after octets of a body were
// changed, as if they had come that way from a client.
func (s sealer) reseal(b *logBatch) {
	dir := len(b.octets) - edgeSize - len(b.records)*dirEntry
	for i, r := range b.records {
		head := b.octets[r.offset : r.offset+recordHead]
		sum := logSum(s.weak, b.seed, b.number, b.at+int64(r.offset), head[:28], r.body)
		littleEndian.PutUint32(head[28:], sum)
		littleEndian.PutUint32(b.octets[dir+i*dirEntry+28:], sum)
	}
	s.edges(b.octets, b.at, b.seed, b.number, dir)
}

// edges makes the sums of header and trailer.
func (s sealer) edges(b []byte, at int64, seed, number uint64, dir int) {
	head, tail := b[:edgeSize], b[len(b)-edgeSize:]
	littleEndian.PutUint32(head[92:], logSum(s.weak, seed, number, at, head[:92]))
	littleEndian.PutUint32(tail[92:], logSum(s.weak, seed, number, at+int64(dir), b[dir:len(b)-edgeSize], tail[:92]))
}

// forge makes a whole batch of records that nobody committed, to lie at offset
// at. Everything but the seed is as a real one would be.
func (s sealer) forge(like *logBatch, at int64, seed, number uint64, records []logRecord) []byte {
	b := make([]byte, edgeSize)
	var dir []byte
	end := edgeSize
	for _, r := range records {
		head := make([]byte, recordHead)
		head[0], head[1] = r.kind, r.flags
		littleEndian.PutUint32(head[4:], uint32(len(r.body)))
		copy(head[8:], r.id[:])
		sum := logSum(s.weak, seed, number, at+int64(len(b)), head[:28], r.body)
		entry := append([]byte(nil), head...)
		littleEndian.PutUint32(entry[24:], uint32(len(b)))
		littleEndian.PutUint32(entry[28:], sum)
		littleEndian.PutUint32(head[28:], sum)
		dir = append(dir, entry...)
		b = append(append(b, head...), r.body...)
		end = len(b)
		b = append(b, make([]byte, (8-len(b)%8)%8)...)
	}
	length := (len(b) + len(dir) + edgeSize + logBlock - 1) / logBlock * logBlock
	dirAt := length - edgeSize - len(dir)
	b = append(b, make([]byte, dirAt-len(b))...)
	b = append(b, dir...)
	b = append(b, make([]byte, edgeSize)...)
	for _, edge := range [][]byte{b[:edgeSize], b[length-edgeSize:]} {
		copy(edge, like.octets[:edgeSize]) // synced, base, first, limit, time, flags
		littleEndian.PutUint64(edge[8:], seed)
		littleEndian.PutUint64(edge[16:], number)
		littleEndian.PutUint32(edge[64:], uint32(length))
		littleEndian.PutUint32(edge[68:], uint32(end))
		littleEndian.PutUint32(edge[72:], uint32(len(records)))
		littleEndian.PutUint32(edge[76:], uint32(at))
	}
	copy(b[:8], "PSTNBHDR")
	copy(b[length-edgeSize:], "PSTNBEND")
	s.edges(b, at, seed, number, dirAt)
	return b
}
