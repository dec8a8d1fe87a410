package auditor

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/postern-mail/postern/internal/envelope"
)

// Types of records.
const (
	recContent = 1 + iota
	recAccept
	recMove
	recFinish
	recRefused
	recCopy
	recNote
	recFilter
	recLost
)

var recordNames = [...]string{"", "content", "accept", "move", "finish", "refused", "copy", "note", "filter", "lost"}

func recordName(t uint8) string {
	if int(t) < len(recordNames) && t > 0 {
		return recordNames[t]
	}
	return "unknown"
}

// record is one record of a batch, or the place where one should be.
type record struct {
	kind   uint8
	group  bool // first of a group
	length uint32
	id     envelope.ID
	at     int64 // in the file
	good   bool
	counts bool
}

// recordAt reads and sums the record at off, which must end before end.
func recordAt(w *window, seed, number uint64, off, end int64) record {
	r := record{at: off}
	b := w.peek(off, recordLen)
	if b == nil || off+recordLen > end {
		return r
	}
	r.kind, r.group = b[0], b[1]&1 != 0
	r.length = binary.LittleEndian.Uint32(b[4:])
	copy(r.id[:], b[8:24])
	want := binary.LittleEndian.Uint32(b[28:])
	if r.kind == 0 || b[2]|b[3] != 0 || off+recordLen+int64(r.length) > end {
		return r
	}
	sum := crc32.Update(seeded(seed, number, off), crcTable, b[:28])
	sum, ok := w.crc(sum, off+recordLen, int64(r.length))
	r.good = ok && sum == want
	return r
}

func (r record) next() int64 { return r.at + (recordLen+int64(r.length)+7)&^7 }

// records lists a batch's records in their order, good and bad. With a good
// trailer its directory says where they are; without, one follows the other,
// and after a bad one the next is looked for at every eighth octet: the seed
// in the sums keeps content from posing as a record.
func records(w *window, seed uint64, b batch) []record {
	end := min(b.start+int64(b.edge.end), w.size)
	if b.trailer {
		return listed(w, seed, b, end)
	}
	var list []record
	for off := b.start + edgeLen; off+recordLen <= end; {
		r := recordAt(w, seed, b.number, off, end)
		if r.good {
			list = append(list, r)
			off = r.next()
			continue
		}
		if n := len(list); n == 0 || list[n-1].good {
			list = append(list, record{at: off})
		}
		off += 8
	}
	return list
}

func listed(w *window, seed uint64, b batch, end int64) []record {
	dir := b.end - edgeLen - int64(b.edge.records)*entryLen
	list := make([]record, 0, min(b.edge.records, windowLen))
	for i := range int64(b.edge.records) {
		d := w.peek(dir+i*entryLen, entryLen)
		if d == nil {
			break
		}
		want := record{kind: d[0], group: d[1]&1 != 0, length: binary.LittleEndian.Uint32(d[4:])}
		copy(want.id[:], d[8:24])
		want.at = b.start + int64(binary.LittleEndian.Uint32(d[24:]))
		r := recordAt(w, seed, b.number, want.at, end)
		want.good = r.good && r.kind == want.kind && r.group == want.group && r.length == want.length && r.id == want.id
		list = append(list, want)
	}
	return list
}

// body returns a copy of a good record's body, or nil when it is absurdly long.
func (r record) body(w *window) []byte {
	if int64(r.length) > maxBodyRead {
		return nil
	}
	return w.read(r.at+recordLen, int(r.length))
}
