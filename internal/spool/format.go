package spool

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
)

// Sizes and marks of format 1; doc.go says what they mean.
const (
	block         = 4096
	firstBatch    = 2 * block
	edgeOctets    = 96 // batch header, batch trailer
	recordOctets  = 32
	dirOctets     = 32
	formatVersion = 1

	magicSegment    = "PSTNSEG1"
	magicEvents     = "PSTNEVT1"
	magicHeader     = "PSTNBHDR"
	magicTrailer    = "PSTNBEND"
	magicCheckpoint = "PSTNCKP1"

	flagWaited = 1 // batch flag
)

type recordType uint8

const (
	recContent recordType = 1 + iota
	recAccept
	recMove
	recFinish
	recRefused
	recCopy
	recNote
	recFilter
	recLost
)

const flagGroup = 1 // record flag: first of a group

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var le = binary.LittleEndian

// checksum is the sum of what no seed protects: headers of files.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// summer makes the seeded sums of one batch. With weak set it leaves seed,
// number and position out: the control arm of the drill about forged records.
type summer struct {
	base uint32 // CRC of seed and number
	weak bool
	tmp  *[16]byte // crc32 makes what it is given escape: one allocation a batch
}

func newSummer(seed, number uint64, weak bool) summer {
	s := summer{weak: weak, tmp: new([16]byte)}
	le.PutUint64(s.tmp[0:], seed)
	le.PutUint64(s.tmp[8:], number)
	s.base = crc32.Update(0, castagnoli, s.tmp[:])
	return s
}

func (s summer) start(position int64) uint32 {
	if s.weak {
		return 0
	}
	le.PutUint64(s.tmp[:], uint64(position))
	return crc32.Update(s.base, castagnoli, s.tmp[:8])
}

func (s summer) sum(position int64, parts ...[]byte) uint32 {
	c := s.start(position)
	for _, p := range parts {
		c = crc32.Update(c, castagnoli, p)
	}
	return c
}

// record is the CRC of a record whose 32-octet header begins rec.
func (s summer) record(position int64, rec []byte) uint32 {
	c := crc32.Update(s.start(position), castagnoli, rec[:28])
	return crc32.Update(c, castagnoli, rec[recordOctets:])
}

// fileHeader is the first block of a segment or event file.
type fileHeader struct {
	events      bool
	minReader   uint16
	seed        uint64
	number      uint64
	incarnation envelope.Incarnation
	limit       uint64
	time        time.Time
	after       uint64
}

func (h *fileHeader) encode(b []byte) {
	clear(b[:block])
	copy(b, magicSegment)
	if h.events {
		copy(b, magicEvents)
	}
	le.PutUint16(b[8:], formatVersion)
	le.PutUint16(b[10:], formatVersion)
	le.PutUint64(b[16:], h.seed)
	le.PutUint64(b[24:], h.number)
	copy(b[32:42], h.incarnation[:])
	le.PutUint64(b[48:], h.limit)
	le.PutUint64(b[56:], uint64(nanos(h.time)))
	le.PutUint64(b[64:], h.after)
	le.PutUint32(b[block-4:], checksum(b[:block-4]))
}

// decode reports false for a block that is no good file header.
func (h *fileHeader) decode(b []byte) bool {
	m := string(b[:8])
	if m != magicSegment && m != magicEvents {
		return false
	}
	if le.Uint32(b[block-4:]) != checksum(b[:block-4]) {
		return false
	}
	*h = fileHeader{
		events:    m == magicEvents,
		minReader: le.Uint16(b[10:]),
		seed:      le.Uint64(b[16:]),
		number:    le.Uint64(b[24:]),
		limit:     le.Uint64(b[48:]),
		time:      fromNanos(int64(le.Uint64(b[56:]))),
		after:     le.Uint64(b[64:]),
	}
	copy(h.incarnation[:], b[32:42])
	return true
}

// edge is what a batch header and a batch trailer hold.
type edge struct {
	seed    uint64
	number  uint64
	synced  uint64
	base    uint64
	first   uint64
	limit   uint64
	time    int64
	octets  uint32
	payload uint32
	records uint32
	offset  uint32
	through uint64
	flags   uint32
}

func (e *edge) encode(b []byte, magic string) {
	copy(b, magic)
	le.PutUint64(b[8:], e.seed)
	le.PutUint64(b[16:], e.number)
	le.PutUint64(b[24:], e.synced)
	le.PutUint64(b[32:], e.base)
	le.PutUint64(b[40:], e.first)
	le.PutUint64(b[48:], e.limit)
	le.PutUint64(b[56:], uint64(e.time))
	le.PutUint32(b[64:], e.octets)
	le.PutUint32(b[68:], e.payload)
	le.PutUint32(b[72:], e.records)
	le.PutUint32(b[76:], e.offset)
	le.PutUint64(b[80:], e.through)
	le.PutUint32(b[88:], e.flags)
}

// decode reads the fields and checks those that need no sum.
func (e *edge) decode(b []byte, magic string, seed uint64, weak bool) bool {
	if string(b[:8]) != magic {
		return false
	}
	*e = edge{
		seed:    le.Uint64(b[8:]),
		number:  le.Uint64(b[16:]),
		synced:  le.Uint64(b[24:]),
		base:    le.Uint64(b[32:]),
		first:   le.Uint64(b[40:]),
		limit:   le.Uint64(b[48:]),
		time:    int64(le.Uint64(b[56:])),
		octets:  le.Uint32(b[64:]),
		payload: le.Uint32(b[68:]),
		records: le.Uint32(b[72:]),
		offset:  le.Uint32(b[76:]),
		through: le.Uint64(b[80:]),
		flags:   le.Uint32(b[88:]),
	}
	return (e.seed == seed || weak) && e.octets%block == 0 && e.octets > 0 &&
		e.payload >= edgeOctets && e.payload <= e.octets &&
		uint64(e.records)*dirOctets+2*edgeOctets <= uint64(e.octets)
}

// recordHeader is the head of a record, and with offset a directory entry.
type recordHeader struct {
	typ    recordType
	flags  uint8
	length uint32
	id     envelope.ID
	offset uint32 // from the start of the batch
	sum    uint32
}

func (r *recordHeader) encode(b []byte) {
	clear(b[:recordOctets])
	b[0], b[1] = byte(r.typ), r.flags
	le.PutUint32(b[4:], r.length)
	copy(b[8:24], r.id[:])
	le.PutUint32(b[28:], r.sum)
}

func (r *recordHeader) encodeDir(b []byte) {
	r.encode(b)
	le.PutUint32(b[24:], r.offset)
}

func (r *recordHeader) decode(b []byte) {
	r.typ, r.flags = recordType(b[0]), b[1]
	r.length = le.Uint32(b[4:])
	copy(r.id[:], b[8:24])
	r.offset = le.Uint32(b[24:])
	r.sum = le.Uint32(b[28:])
}

// padded is the length of a record with a body of n octets.
func padded(n int) int { return (recordOctets + n + 7) &^ 7 }

func roundBlock(n int) int { return (n + block - 1) &^ (block - 1) }

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
