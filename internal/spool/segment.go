package spool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/telemetry"
)

// segment is one file of the main log.
type segment struct {
	number uint64
	seed   uint64
	name   string
	file   durable.File
	pins   atomic.Int32 // open Contents and readers; the file is neither reused nor closed meanwhile
	made   time.Time    // when its header was written
	sealed time.Time    // when the next one was begun; zero for the head
	last   uint64       // number of the last batch in it
	bad    bool         // header destroyed, newer format or missing: never read
	unused bool         // recovery found no batch in it
	doomed bool         // a write or sync failed: removed instead of used again
}

func segmentName(dir string, n uint64) string { return path.Join(dir, fmt.Sprintf("segment-%08d", n)) }

func spareName(dir string, n uint64) string { return path.Join(dir, fmt.Sprintf("spare-%08d", n)) }

func eventName(dir string, n uint64) string { return path.Join(dir, fmt.Sprintf("event-%08d", n)) }

func checkpointName(dir string, n uint64) string {
	return path.Join(dir, fmt.Sprintf("checkpoint-%08d", n))
}
func draftName(dir string, id envelope.ID) string { return path.Join(dir, "draft-"+id.String()) }

// fileNumber reads the number out of "prefix-N".
func fileNumber(name, prefix string) (uint64, bool) {
	rest, ok := strings.CutPrefix(name, prefix+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(rest, 10, 64)
	return n, err == nil
}

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return le.Uint64(b[:])
}

// writeHeader writes both header blocks and syncs them.
func writeHeader(f durable.File, h *fileHeader) error {
	var b [2 * block]byte
	h.encode(b[:block])
	copy(b[block:], b[:block])
	if _, err := f.WriteAt(b[:], 0); err != nil {
		return err
	}
	return f.Sync()
}

// readHeader reads the header from either copy.
func readHeader(f durable.File) (fileHeader, bool) {
	var h fileHeader
	var b [block]byte
	for _, off := range []int64{0, block} {
		if n, _ := f.ReadAt(b[:], off); n == block && h.decode(b[:]) {
			return h, true
		}
	}
	return h, false
}

// prepared is a spare file that is as long as a segment and whose blocks the
// disk has already given out.
type prepared struct {
	name string
	file durable.File
	at   time.Time
	used bool // it held mail once
}

// makeSpare creates a spare. fill writes zero octets over it, which saves the
// first sync of every block a change of metadata; it is left out when someone
// waits for the file.
func (s *Spool) makeSpare(fill bool) (*prepared, error) {
	name := spareName(s.dir, s.spareNumber.Add(1))
	f, err := s.fs.Create(name)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	err = f.Allocate(s.cfg.SegmentOctets)
	if err == nil && fill {
		err = s.zero(f, 0, s.cfg.SegmentOctets, true)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", name, err), f.Close(), s.fs.Remove(name))
	}
	telemetry.FailPoint("spool.segment.prepared")
	return &prepared{name: name, file: f, at: s.cfg.Clock()}, nil
}

// zero overwrites [off,end) and stops early when the spool closes or, with
// hurried, when the committer waits for a segment.
func (s *Spool) zero(f durable.File, off, end int64, hurried bool) error {
	chunk := make([]byte, min(end-off, 1<<20))
	for off < end && !(hurried && s.urgent.Load()) {
		select {
		case <-s.stop:
			return nil
		default:
		}
		n, err := f.WriteAt(chunk[:min(int64(len(chunk)), end-off)], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// beginSegment turns a spare into segment number n: a new seed, the header
// twice, the name, all synced before the first batch goes in.
func (s *Spool) beginSegment(p *prepared, n, after uint64) (*segment, error) {
	seg := &segment{number: n, seed: randomUint64(), name: segmentName(s.dir, n), file: p.file}
	h := fileHeader{seed: seg.seed, number: n, incarnation: s.incarnation, limit: s.limit.Load(), time: s.cfg.Clock(), after: after}
	err := writeHeader(p.file, &h)
	if err == nil {
		err = s.fs.Rename(p.name, seg.name)
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin segment %d: %w", n, err), p.file.Close())
	}
	return seg, nil
}
