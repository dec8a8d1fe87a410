package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/durable"
)

func causeOf(b byte) cause.Cause { return cause.Cause(b) }

// loadCheckpoint fills idx from the newest good checkpoint and returns the
// seeds it has kept. A bad one is named, and the one before is tried.
func (l *loader) loadCheckpoint() (map[uint64]uint64, error) {
	for _, n := range slices.Backward(l.checkpoints) {
		name := checkpointName(l.dir, n)
		seeds, err := l.readCheckpoint(name)
		if err == nil {
			l.mark(l.from.limit)
			return seeds, nil
		}
		l.find(Finding{Kind: BadCheckpoint, Recipient: -1, Holder: path.Base(name), Detail: err.Error()})
		l.idx = newIndex()
		l.from = checkpointHeader{}
		l.scars = map[uint64]scar{}
		clear(l.adopted)
	}
	return nil, nil
}

func (l *loader) readCheckpoint(name string) (map[uint64]uint64, error) {
	f, err := l.fs.Open(name)
	if err != nil {
		return nil, err
	}
	seeds, err := l.readChunks(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return seeds, err
}

func (l *loader) readChunks(f durable.File) (map[uint64]uint64, error) {
	var head [edgeOctets]byte
	if _, err := readFull(f, head[:], 0); err != nil {
		return nil, err
	}
	if !l.from.decode(head[:]) {
		return nil, errors.New("its header is destroyed or of a newer format")
	}
	if l.from.incarnation != l.incarnation {
		return nil, fmt.Errorf("it belongs to incarnation %v", l.from.incarnation)
	}
	seeds := map[uint64]uint64{}
	buf := []byte(nil)
	for off := int64(edgeOctets); ; {
		kind, body, err := readChunk(f, off, &buf)
		if err != nil {
			return nil, err
		}
		off += chunkHead + int64(len(body))
		done, err := l.takeChunk(kind, body, seeds)
		if err != nil {
			return nil, fmt.Errorf("chunk at %d: %w", off, err)
		}
		if done {
			return seeds, nil
		}
	}
}

func readChunk(f durable.File, off int64, buf *[]byte) (kind byte, body []byte, err error) {
	var head [chunkHead]byte
	n, err := readFull(f, head[:], off)
	if err != nil {
		return 0, nil, err
	}
	length := int(le.Uint32(head[4:]))
	if n < chunkHead || length > maxChunk {
		return 0, nil, fmt.Errorf("no chunk at %d", off)
	}
	if cap(*buf) < length {
		*buf = make([]byte, length+length/4)
	}
	body = (*buf)[:length]
	if n, err = readFull(f, body, off+chunkHead); err != nil {
		return 0, nil, err
	}
	if n < length || le.Uint32(head[8:]) != crc32.Update(crc32.Checksum(head[:8], castagnoli), castagnoli, body) {
		return 0, nil, fmt.Errorf("the chunk at %d is destroyed", off)
	}
	return head[0], body, nil
}

func (l *loader) takeChunk(kind byte, body []byte, seeds map[uint64]uint64) (done bool, err error) {
	r := &reader{b: body}
	switch kind {
	case chunkSegments:
		for len(r.b) >= 16 {
			n := r.u64()
			seeds[n] = r.u64()
		}
	case chunkLedger:
		err = l.idx.readLedger(r)
	case chunkScars:
		for len(r.b) > 0 && !r.bad {
			sr := r.scar()
			l.scars[sr.number] = sr
		}
	case chunkAdopted:
		for len(r.b) > 0 && !r.bad {
			l.adopted[r.incarnation()] = true
		}
	case chunkEntries:
		for len(r.b) > 0 && err == nil {
			err = l.idx.readEntry(r)
		}
	case chunkEnd:
		if want := r.u64(); want != uint64(l.idx.live) {
			err = fmt.Errorf("it has %d entries of %d", l.idx.live, want)
		}
		done = true
	default:
		err = fmt.Errorf("unknown kind %d", kind)
	}
	if r.bad && err == nil {
		err = errBody
	}
	return done, err
}

// checkpointsKept are the checkpoints on the disk, for the two-kept rule. Of
// those before the one that was read only the number is known.
func (l *loader) checkpointsKept() []checkpointHeader {
	var list []checkpointHeader
	for _, n := range l.checkpoints {
		h := checkpointHeader{number: n}
		if n == l.from.number {
			h = l.from
		} else if f, err := l.fs.Open(checkpointName(l.dir, n)); err == nil {
			var head [edgeOctets]byte
			if got, err := readFull(f, head[:], 0); err != nil || got < edgeOctets || !h.decode(head[:]) {
				h = checkpointHeader{number: n}
			}
			_ = f.Close() // read only
		}
		list = append(list, h)
	}
	return list
}
