package auditor

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
)

// The forge writes directories by the words of internal/spool/doc.go, so that
// the auditor can be tried on any of them, and without the spool.

var own = envelope.Incarnation{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}

var forgeTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func id(n uint64) envelope.ID { return envelope.NewID(own, n) }

// rec is one record to be written.
type rec struct {
	kind, flags byte
	id          envelope.ID
	body        []byte
}

// forgery is one log file in the making.
type forgery struct {
	name   string
	seed   uint64
	number uint64 // of the last batch
	synced uint64
	base   uint64
	first  uint64
	events bool
	thru   uint64
	b      []byte
	starts []int // of batches
}

func newForgery(name string, fileNumber, seed, base, first uint64, inc envelope.Incarnation) *forgery {
	f := &forgery{name: name, seed: seed, number: first - 1, base: base, first: first, synced: base, events: name[0] == 'e'}
	h := make([]byte, block)
	copy(h, "PSTNSEG1")
	if f.events {
		copy(h, "PSTNEVT1")
	}
	binary.LittleEndian.PutUint16(h[8:], 1)
	binary.LittleEndian.PutUint16(h[10:], 1)
	binary.LittleEndian.PutUint64(h[16:], seed)
	binary.LittleEndian.PutUint64(h[24:], fileNumber)
	copy(h[32:], inc[:])
	binary.LittleEndian.PutUint64(h[56:], uint64(forgeTime.UnixNano()))
	binary.LittleEndian.PutUint32(h[block-4:], crc32.Checksum(h[:block-4], crcTable))
	f.b = append(append(f.b, h...), h...)
	return f
}

func forgeSum(seed, number uint64, at int, parts ...[]byte) uint32 {
	b := binary.LittleEndian.AppendUint64(nil, seed)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	for _, p := range parts {
		b = append(b, p...)
	}
	return crc32.Checksum(b, crcTable)
}

// batch appends one batch and returns its start.
func (f *forgery) batch(list ...rec) int {
	f.number++
	start := len(f.b)
	out := make([]byte, edgeLen)
	var dir []byte
	for _, r := range list {
		at := start + len(out)
		h := make([]byte, recordLen)
		h[0], h[1] = r.kind, r.flags
		binary.LittleEndian.PutUint32(h[4:], uint32(len(r.body)))
		copy(h[8:], r.id[:])
		sum := forgeSum(f.seed, f.number, at, h[:28], r.body)
		binary.LittleEndian.PutUint32(h[28:], sum)
		d := append([]byte(nil), h...)
		binary.LittleEndian.PutUint32(d[24:], uint32(at-start))
		dir = append(dir, d...)
		out = append(append(out, h...), r.body...)
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
	}
	end := len(out)
	octets := (end + len(dir) + edgeLen + block - 1) / block * block
	out = append(out, make([]byte, octets-end)...)
	copy(out[octets-edgeLen-len(dir):], dir)
	e := make([]byte, edgeLen)
	for i, v := range []uint64{f.seed, f.number, f.synced, f.base, f.first, 1 << 20, uint64(forgeTime.UnixNano())} {
		binary.LittleEndian.PutUint64(e[8+8*i:], v)
	}
	for i, v := range []uint32{uint32(octets), uint32(end), uint32(len(list)), uint32(start)} {
		binary.LittleEndian.PutUint32(e[64+4*i:], v)
	}
	binary.LittleEndian.PutUint64(e[80:], f.thru)
	copy(e, "PSTNBHDR")
	binary.LittleEndian.PutUint32(e[92:], forgeSum(f.seed, f.number, start, e[:92]))
	copy(out, e)
	copy(e, "PSTNBEND")
	binary.LittleEndian.PutUint32(e[92:], forgeSum(f.seed, f.number, start+octets-edgeLen-len(dir), dir, e[:92]))
	copy(out[octets-edgeLen:], e)
	f.b = append(f.b, out...)
	f.starts = append(f.starts, start)
	f.synced = f.number // the next batch says so
	return start
}

func str(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// acceptBody is an accept of tenant's message to the given addresses.
// distance 0 means that the message has no content.
func acceptBody(tenant string, distance, size uint64, draft envelope.ID, draftSum uint32, domains ...string) []byte {
	flags := byte(0)
	switch {
	case !draft.IsZero():
		flags = 8
	case distance == 0:
		flags = 32
	}
	b := []byte{1, 1, flags}
	b = binary.AppendUvarint(b, 1)
	b = binary.AppendUvarint(b, size)
	switch {
	case flags == 8:
		b = append(b, draft[:]...)
		b = binary.LittleEndian.AppendUint32(b, draftSum)
		b = binary.LittleEndian.AppendUint32(b, 0)
	case flags == 0:
		b = binary.AppendUvarint(b, distance)
	}
	b = str(str(b, tenant), "")
	b = binary.LittleEndian.AppendUint64(b, uint64(forgeTime.UnixNano()))
	b = str(b, "\xc0\x00\x02\x01\x39\x30") // 192.0.2.1:12345
	b = append(b, 0)
	for _, s := range []string{"smtp", "client.example", "ESMTP", "", ""} {
		b = str(b, s)
	}
	b = str(str(b, "alice"), "sender.example")
	b = binary.AppendUvarint(b, size)
	b = append(b, 1, 0)
	b = str(str(b, ""), "")
	b = binary.AppendUvarint(b, uint64(len(domains)))
	for i, d := range domains {
		b = str(str(b, "user"+string(rune('0'+i%10))), d)
		b = append(b, 0)
		b = str(b, "")
	}
	return b
}

func copyBody(accept []byte, states ...byte) []byte {
	b := append([]byte(nil), accept...)
	for _, s := range states {
		b = append(b, s, 0, 0)
		b = binary.LittleEndian.AppendUint64(b, uint64(forgeTime.Add(time.Hour).UnixNano()))
	}
	return b
}

func changeBody(recipient uint64, to byte, attempt bool) []byte {
	b := binary.AppendUvarint([]byte{1}, recipient)
	flags := byte(0)
	if attempt {
		flags = 1
	}
	b = append(b, to, 0, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(forgeTime.UnixNano()))
	b = binary.LittleEndian.AppendUint64(b, 0)
	if attempt {
		b = binary.LittleEndian.AppendUint64(b, uint64(forgeTime.UnixNano()))
		b = binary.AppendVarint(b, -5)
		b = str(str(b, "mx:example.test"), "mx.example.test")
		b = append(b, 0)
		b = append(str(b, "TLS1.3"), 0)
		for _, v := range []uint64{250, 2, 0, 0, 1} {
			b = binary.AppendUvarint(b, v)
		}
		b = str(str(b, "ok"), "")
	}
	return b
}

// mail is a content record and its accept, as one group.
func mail(n uint64, tenant, content string, domains ...string) []rec {
	c := rec{recContent, 1, id(n), append(make([]byte, 8), content...)}
	distance := uint64(recordLen+len(c.body)+7) &^ 7
	return []rec{c, {recAccept, 0, id(n), acceptBody(tenant, distance, uint64(len(content)), envelope.ID{}, 0, domains...)}}
}

func accept(n uint64, tenant string, domains ...string) rec {
	return rec{recAccept, 1, id(n), acceptBody(tenant, 0, 0, envelope.ID{}, 0, domains...)}
}

func finish(n, recipient uint64, to byte) rec {
	return rec{recFinish, 1, id(n), changeBody(recipient, to, true)}
}

// bookBody is a ledger: tenant, inbound sources, delivered, lost.
func bookBody(tenant string, sources, delivered, lost uint64) []byte {
	b := str(binary.AppendUvarint(nil, 1), tenant)
	for _, v := range []uint64{0, sources, 0, 0, 0, delivered, 0, 0, 0, 0, lost} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

type forgedEntry struct {
	id      envelope.ID
	tenant  string
	segment uint64
	offset  uint64
	states  []byte
}

func checkpointOctets(number, batch uint64, book []byte, entries ...forgedEntry) []byte {
	h := make([]byte, 96)
	copy(h, "PSTNCKP1")
	binary.LittleEndian.PutUint16(h[8:], 1)
	binary.LittleEndian.PutUint16(h[10:], 1)
	binary.LittleEndian.PutUint64(h[16:], number)
	copy(h[24:], own[:])
	binary.LittleEndian.PutUint64(h[40:], batch)
	binary.LittleEndian.PutUint64(h[80:], uint64(forgeTime.UnixNano()))
	binary.LittleEndian.PutUint32(h[92:], crc32.Checksum(h[:92], crcTable))
	chunk := func(kind byte, body []byte) {
		c := make([]byte, 16)
		c[0] = kind
		binary.LittleEndian.PutUint32(c[4:], uint32(len(body)))
		binary.LittleEndian.PutUint32(c[8:], crc32.Checksum(append(append([]byte(nil), c[:8]...), body...), crcTable))
		h = append(append(h, c...), body...)
	}
	var b []byte
	for _, e := range entries {
		b = append(b, e.id[:]...)
		b = append(str(b, e.tenant), 1, 0)
		for _, v := range []uint64{e.segment, e.offset, 100, 1} {
			b = binary.AppendUvarint(b, v)
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(forgeTime.UnixNano()))
		b = binary.AppendUvarint(binary.AppendUvarint(b, 0), uint64(len(e.states)))
		for _, s := range e.states {
			b = append(b, s, 0, 0)
			b = binary.LittleEndian.AppendUint64(b, 0)
			b = str(b, "example.test")
		}
	}
	chunk(2, book)
	chunk(3, b)
	chunk(6, binary.LittleEndian.AppendUint64(nil, uint64(len(entries))))
	return h
}

// dirOf writes files into a fresh spool directory of the incarnation own.
func dirOf(t testing.TB, files ...*forgery) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		put(t, dir, own.String()+"/"+f.name, f.b)
	}
	return dir
}

func put(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
