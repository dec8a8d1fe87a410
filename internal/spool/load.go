package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
)

// loader reads one incarnation's directory into an index. It writes nothing,
// so that Audit and adoption use it as well as Open.
type loader struct {
	fs          durable.FS
	dir         string
	movedTo     string // where an adoption that was cut short may have put draft files
	incarnation envelope.Incarnation
	weak        bool
	idx         *index

	segs        map[uint64]*segment
	numbers     []uint64 // of segs, rising
	spares      []string
	events      []uint64
	checkpoints []uint64
	drafts      []envelope.ID
	temporary   []string

	from     checkpointHeader // where the state in idx came from; zero: nothing
	last     uint64           // highest batch number seen
	counted  uint64           // highest that counts
	reached  uint64           // all up to this were read; an audit may meet batches half written
	stalled  bool             // one beyond reached was not whole
	synced   uint64           // S of doc.go
	limit    uint64
	voids    []span
	scars    map[uint64]scar
	fresh    []scar // found now
	adopted  map[envelope.Incarnation]bool
	marked   bool // some mark of drawn IDs was found
	doubtful map[envelope.ID]bool
	findings []Finding
	missing  []span // batches that are gone: whose they were is asked of the event log
	batches  int
	octets   int64
	torn     int
	known    int
}

// span is a range of batch numbers, both ends included.
type span struct{ first, last uint64 }

// scar is a place that was found bad before and is not reported again.
type scar struct {
	segment uint64
	offset  int64
	octets  int64
	number  uint64
	torn    bool
}

func newLoader(fsys durable.FS, dir string, inc envelope.Incarnation, weak bool) *loader {
	return &loader{
		fs: fsys, dir: dir, incarnation: inc, weak: weak, idx: newIndex(), segs: map[uint64]*segment{},
		scars: map[uint64]scar{}, adopted: map[envelope.Incarnation]bool{}, doubtful: map[envelope.ID]bool{},
	}
}

func (l *loader) find(f Finding) { l.findings = append(l.findings, f) }

// list sorts the directory's names by what they are.
func (l *loader) list() error {
	names, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		l.sortName(e.Name())
	}
	slices.Sort(l.events)
	slices.Sort(l.checkpoints)
	slices.Sort(l.numbers)
	return nil
}

func (l *loader) sortName(name string) {
	if strings.HasSuffix(name, ".tmp") {
		l.temporary = append(l.temporary, path.Join(l.dir, name))
		return
	}
	if n, ok := fileNumber(name, "segment"); ok {
		l.segs[n] = &segment{number: n, name: path.Join(l.dir, name)}
		l.numbers = append(l.numbers, n)
	} else if _, ok := fileNumber(name, "spare"); ok {
		l.spares = append(l.spares, path.Join(l.dir, name))
	} else if n, ok := fileNumber(name, "event"); ok {
		l.events = append(l.events, n)
	} else if n, ok := fileNumber(name, "checkpoint"); ok {
		l.checkpoints = append(l.checkpoints, n)
	} else if rest, ok := strings.CutPrefix(name, "draft-"); ok {
		if id, err := envelope.ParseID(rest); err == nil {
			l.drafts = append(l.drafts, id)
		}
	}
}

// openSegments opens all segments and reads their headers.
func (l *loader) openSegments(seeds map[uint64]uint64) error {
	for _, n := range l.numbers {
		seg := l.segs[n]
		f, err := l.fs.Open(seg.name)
		if errors.Is(err, fs.ErrNotExist) {
			seg.bad = true
			continue
		}
		if err != nil {
			return fmt.Errorf("open segment %d: %w", n, err)
		}
		seg.file = f
		l.readSegmentHeader(seg, seeds)
	}
	return nil
}

// readSegmentHeader believes the header, or for want of a good one the seed
// that a checkpoint has kept.
func (l *loader) readSegmentHeader(seg *segment, seeds map[uint64]uint64) {
	h, ok := readHeader(seg.file)
	switch {
	case ok && h.minReader > formatVersion:
		seg.bad = true
		l.find(Finding{
			Kind: NewerFormat, Recipient: -1, Segment: seg.number, Holder: path.Base(seg.name),
			Detail: fmt.Sprintf("asks for a reader of format %d", h.minReader),
		})
	case ok && (h.number == seg.number && h.incarnation == l.incarnation && !h.events):
		seg.seed = h.seed
		seg.made = h.time
		l.mark(h.limit)
		l.last = max(l.last, h.after)
	default:
		seed, known := seeds[seg.number]
		seg.seed, seg.bad = seed, !known
		l.find(Finding{
			Kind: BadSegment, Recipient: -1, Segment: seg.number, Holder: path.Base(seg.name),
			Detail: fmt.Sprintf("both headers are destroyed; seed known from a checkpoint: %v", known),
		})
	}
}

func (l *loader) mark(limit uint64) {
	l.marked = true
	l.limit = max(l.limit, limit)
}

// load fills idx. fromCheckpoint is false for a full scan.
func (l *loader) load(ctx context.Context, fromCheckpoint bool) error {
	if err := l.list(); err != nil {
		return err
	}
	var seeds map[uint64]uint64
	if fromCheckpoint {
		var err error
		if seeds, err = l.loadCheckpoint(); err != nil {
			return err
		}
	}
	if err := l.openSegments(seeds); err != nil {
		return err
	}
	if err := l.survey(ctx); err != nil {
		return err
	}
	if err := l.replay(ctx); err != nil {
		return err
	}
	l.checkPlaces()
	l.checkDrafts()
	l.holdDoubtful()
	return nil
}

// close closes the segments that a loader opened.
func (l *loader) close() error {
	var err error
	for _, seg := range l.segs {
		if seg.file != nil {
			err = errors.Join(err, seg.file.Close())
		}
	}
	return err
}

// replayed are the segments behind the checkpoint, in order.
func (l *loader) replayed() []uint64 {
	i := sort.Search(len(l.numbers), func(i int) bool { return l.numbers[i] >= l.from.segment })
	return l.numbers[i:]
}

// scan opens a scanner where replay of segment n begins, nil when it can't be read.
func (l *loader) scan(n uint64) (*scanner, error) {
	seg := l.segs[n]
	if seg.bad || seg.file == nil {
		return nil, nil
	}
	sc, err := newScanner(seg.file, seg.seed, l.weak)
	if err != nil {
		return nil, fmt.Errorf("segment %d: %w", n, err)
	}
	if n == l.from.segment && l.from.offset > firstBatch {
		sc.off = l.from.offset
	}
	return sc, nil
}

// survey looks at headers only and learns S, what was abandoned, the scars,
// and which IDs may have been drawn.
func (l *loader) survey(ctx context.Context) error {
	l.synced = max(l.synced, l.from.batch)
	l.last = max(l.last, l.from.batch)
	for _, n := range l.replayed() {
		if err := ctx.Err(); err != nil {
			return err
		}
		sc, err := l.scan(n)
		if err != nil || sc == nil {
			if err != nil {
				return err
			}
			continue
		}
		sc.light = true
		first := true
		for {
			v, ok, err := sc.next()
			if err != nil {
				l.unreadable(n, sc.off, err)
				break
			}
			if !ok {
				break
			}
			if v.bad {
				continue
			}
			l.surveyBatch(&v)
			if first {
				l.surveyNotes(n, v.off)
				first = false
			}
		}
	}
	return nil
}

func (l *loader) unreadable(segment uint64, off int64, err error) {
	l.find(Finding{
		Kind: BadSegment, Recipient: -1, Segment: segment, Offset: off, Detail: err.Error(),
		Holder: fmt.Sprintf("segment-%08d", segment),
	})
}

func (l *loader) surveyBatch(v *view) {
	l.last = max(l.last, v.edge.number)
	l.synced = max(l.synced, v.edge.synced)
	l.mark(v.edge.limit)
	if v.edge.first > v.edge.base+1 {
		s := span{v.edge.base + 1, v.edge.first - 1}
		if !slices.Contains(l.voids, s) {
			l.voids = append(l.voids, s)
		}
	}
}

// surveyNotes reads the notes of a segment's first batch.
func (l *loader) surveyNotes(segment uint64, off int64) {
	sc, err := l.scan(segment)
	if err != nil || sc == nil {
		return
	}
	v, ok, err := sc.at(off)
	if err != nil || !ok {
		return
	}
	v.records(func(r recordView) bool {
		if r.good && r.typ == recNote {
			if sr, ok := readScar(r.body); ok && sr.number > 0 {
				l.scars[sr.number] = sr
			}
		}
		return true
	})
}

// void reports whether batch n was abandoned.
func (l *loader) void(n uint64) bool { return inSpans(l.voids, n) }

// Kinds of note.
const (
	noteAdopted = 1 + iota
	noteScar
	noteShed
)

func appendScar(b []byte, s scar) []byte {
	b = le.AppendUint64(b, s.segment)
	b = le.AppendUint64(b, uint64(s.offset))
	b = le.AppendUint64(b, uint64(s.octets))
	b = le.AppendUint64(b, s.number)
	if s.torn {
		return append(b, 1)
	}
	return append(b, 2)
}

func (r *reader) scar() scar {
	s := scar{segment: r.u64(), offset: int64(r.u64()), octets: int64(r.u64()), number: r.u64()}
	s.torn = r.u8() == 1
	return s
}

func readScar(body []byte) (scar, bool) {
	r := reader{b: body}
	if r.u8() != noteScar {
		return scar{}, false
	}
	s := r.scar()
	return s, !r.bad
}

// firstTime is when the oldest segment was begun.
func (l *loader) firstTime(now time.Time) time.Time {
	if seg := l.segs[l.numbers[0]]; !seg.made.IsZero() {
		return seg.made
	}
	return now
}
