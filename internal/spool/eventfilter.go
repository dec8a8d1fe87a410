package spool

import (
	"encoding/binary"

	"github.com/postern-mail/postern/internal/durable"
)

// Shape of a file's Bloom filter: 10 bits and 7 hashes a key, 1 % false.
const (
	filterBits   = 10
	filterHashes = 7
)

// FNV-1a of 64 bits.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hashKey(b []byte) uint64 {
	h := uint64(fnvOffset)
	for _, c := range b {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}

// hashLowered goes on with A to Z lowered.
func hashLowered(h uint64, b []byte) uint64 {
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}

// note remembers the keys of a batch for the file's filter.
func (w *eventWriter) note(b *batch) {
	last := uint64(0)
	for pos := edgeOctets; pos < len(b.buf); {
		var h recordHeader
		h.decode(b.buf[pos:])
		body := reader{b: b.buf[pos+recordOctets : pos+recordOctets+int(h.length)]}
		pos += padded(int(h.length))
		if k := hashKey(h.id[:]); k != last && !h.id.IsZero() {
			w.hashes = append(w.hashes, k)
			last = k
		}
		switch h.typ {
		case recAccept:
			body.acceptPaths(w.notePath)
		case recRefused:
			body.refusedPaths(w.notePath)
		}
	}
}

// notePath remembers "local@domain" lowered.
func (w *eventWriter) notePath(local, domain []byte) {
	h := uint64(fnvOffset)
	h = hashLowered(h, local)
	h = hashLowered(h, []byte("@"))
	w.hashes = append(w.hashes, hashLowered(h, domain))
}

// acceptPaths gives the paths of an accept body without making an envelope.
func (r *reader) acceptPaths(give func(local, domain []byte)) {
	r.take(2)
	flags := r.u8()
	r.uvarint()
	r.uvarint()
	switch {
	case flags&acceptNoContent != 0:
	case flags&acceptDraft != 0:
		r.take(24)
	default:
		r.uvarint()
	}
	if flags&acceptParent != 0 {
		r.take(16)
	}
	r.skip(2) // tenant, region
	r.take(8)
	r.take(int(r.u8()))
	r.take(int(r.u8()))
	r.skip(5)
	give(r.octets(), r.octets())
	r.uvarint()
	r.take(2)
	r.skip(2)
	for range r.count() {
		give(r.octets(), r.octets())
		r.take(1)
		r.skip(1)
	}
}

func (r *reader) refusedPaths(give func(local, domain []byte)) {
	r.take(9)
	r.skip(1)
	r.take(int(r.u8()))
	r.skip(2)
	give(r.octets(), r.octets())
	for range 5 {
		r.uvarint()
	}
	r.skip(1)
	for range r.count() {
		give(r.octets(), r.octets())
	}
}

// skip passes n strings.
func (r *reader) skip(n int) {
	for range n {
		r.octets()
	}
}

// filterRoom is how many octets the filter batch will need at most.
func (w *eventWriter) filterRoom(more int) int64 {
	keys := len(w.hashes) + 8*more
	return int64(roundBlock(keys*filterBits/8 + 4*edgeOctets))
}

func makeFilter(hashes []uint64) []byte {
	b := binary.AppendUvarint(nil, uint64(len(hashes)))
	b = append(b, filterHashes)
	bits := uint64(max(64, len(hashes)*filterBits)+7) &^ 7
	f := make([]byte, bits/8)
	for _, h := range hashes {
		eachBit(h, bits, filterHashes, func(i uint64) bool {
			f[i/8] |= 1 << (i % 8)
			return true
		})
	}
	return append(b, f...)
}

func eachBit(h, bits uint64, n int, give func(uint64) bool) {
	h1, h2 := h&0xffffffff, h>>32|1
	for j := range uint64(n) {
		if !give((h1 + j*h2) % bits) {
			return
		}
	}
}

// mayHold asks the filter at the end of a file. A file without one (the
// current one, or one that a crash left) may hold anything.
func mayHold(f durable.File, sc *scanner, keys []uint64) bool {
	if keys == nil {
		return true
	}
	v, ok, err := sc.byTrailer(firstBatch, sc.size)
	if err != nil || !ok || v.edge.records == 0 {
		return true
	}
	may := true
	v.records(func(r recordView) bool {
		if r.good && r.typ == recFilter {
			may = filterHas(r.body, keys)
		}
		return true
	})
	return may
}

func filterHas(body []byte, keys []uint64) bool {
	r := reader{b: body}
	r.uvarint()
	n := int(r.u8())
	bits := uint64(len(r.b)) * 8
	if r.bad || bits == 0 || n == 0 {
		return true
	}
	for _, k := range keys {
		all := true
		eachBit(k, bits, n, func(i uint64) bool {
			all = r.b[i/8]&(1<<(i%8)) != 0
			return all
		})
		if all {
			return true
		}
	}
	return false
}
