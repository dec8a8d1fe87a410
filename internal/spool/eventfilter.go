package spool

import (
	"encoding/binary"
	"hash/fnv"

	"github.com/postern-mail/postern/internal/durable"
)

// Shape of a file's Bloom filter: 10 bits and 7 hashes a key, 1 % false.
const (
	filterBits   = 10
	filterHashes = 7
)

func hashKey(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64()
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
			if env, _, err := body.accept(h.id); err == nil {
				w.hashes = append(w.hashes, hashKey([]byte(lowerASCII(addressOf(env.Reverse)))))
				for i := range env.Forward {
					w.hashes = append(w.hashes, hashKey([]byte(lowerASCII(addressOf(env.Forward[i].Path)))))
				}
			}
		case recRefused:
			if ev, err := body.refused(); err == nil {
				w.hashes = append(w.hashes, hashKey([]byte(lowerASCII(addressOf(ev.Reverse)))))
				for _, p := range ev.Forward {
					w.hashes = append(w.hashes, hashKey([]byte(lowerASCII(addressOf(p)))))
				}
			}
		}
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
