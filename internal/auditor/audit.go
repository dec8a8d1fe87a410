package auditor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/postern-mail/postern/internal/envelope"
)

// DefaultLimit is how many findings of a sort are named. Chosen: more than a
// person reads, and still a bound.
const DefaultLimit = 100_000

var errNotRegular = errors.New("not a regular file")

// Options bound a Report.
type Options struct {
	// Limit is how many messages and findings each list of the Report names.
	// 0 means DefaultLimit; below 0 there is no bound.
	Limit int
}

// Audit reads the copied data directory dir (or its "spool" directory) and
// returns what it found. The error is about dir itself or ctx; the Report is
// then nil.
func Audit(ctx context.Context, dir string, o Options) (*Report, error) {
	if o.Limit == 0 {
		o.Limit = DefaultLimit
	}
	if fi, err := os.Stat(filepath.Join(dir, "spool")); err == nil && fi.IsDir() {
		dir = filepath.Join(dir, "spool")
	}
	a := &audit{ctx: ctx, root: dir, rep: newReport(dir, o.Limit), names: map[string]string{}}
	if err := a.findStores(); err != nil {
		return nil, fmt.Errorf("audit %s: %w", dir, err)
	}
	for _, s := range a.stores {
		s.readEdges()
		s.readCheckpoint()
		s.readMain()
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("audit %s: %w", dir, err)
		}
	}
	a.merge()
	a.readEvents()
	a.judge()
	a.checkDrafts()
	a.name()
	a.finish()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("audit %s: %w", dir, err)
	}
	return a.rep, nil
}

// audit is one run.
type audit struct {
	ctx    context.Context
	root   string
	rep    *Report
	stores []*store
	all    map[envelope.ID]*message // after merge
	book   book                     // after merge
	sheds  []shed
	names  map[string]string // tenants, so that each name is kept once
}

func (a *audit) tenant(name string) string {
	if kept, ok := a.names[name]; ok {
		return kept
	}
	a.names[name] = name
	return name
}

// store is one incarnation's directory.
type store struct {
	a       *audit
	dir     string // relative to the root
	inc     envelope.Incarnation
	aside   bool // an adopted-... directory: only its event log counts
	counted bool // its messages and ledger count (merge decides)

	segments, events []*logFile
	checkpoints      []string
	drafts           map[envelope.ID]string

	main, event span
	ck          *checkpoint
	msgs        map[envelope.ID]*message
	late        map[envelope.ID]map[uint64]bool // ended behind the event log, accept unknown
	book        book
	adopted     map[envelope.Incarnation]bool
	scars       []scar
	pending     []Damage
	restarted   bool
}

// logFile is a segment or event file.
type logFile struct {
	rel    string
	number uint64
	head   head
	ok     bool // its header was good
}

// span is what the edges of a log say.
type span struct {
	synced    uint64 // S of the format text
	told      uint64 // S by the batches alone
	through   uint64
	last      uint64 // highest number that counts
	abandoned map[[2]uint64]bool
	torn      map[uint64]bool // batches that a scar calls torn
}

func (s *span) scarred(number uint64) {
	if s.torn == nil {
		s.torn = map[uint64]bool{}
	}
	s.torn[number] = true
}

// acknowledged reports whether someone may have been told of batch number.
func (s *span) acknowledged(number uint64) bool { return number <= s.synced && !s.torn[number] }

func (s *span) skip(number uint64) bool {
	for r := range s.abandoned {
		if number > r[0] && number < r[1] {
			return true
		}
	}
	return false
}

func (s *span) learn(e edge) {
	s.synced, s.through = max(s.synced, e.synced), max(s.through, e.through)
	s.told = max(s.told, e.synced)
	if e.first > e.base+1 {
		if s.abandoned == nil {
			s.abandoned = map[[2]uint64]bool{}
		}
		s.abandoned[[2]uint64{e.base, e.first}] = true
	}
}

var (
	numbered = regexp.MustCompile(`^(segment|event|checkpoint)-([0-9]{1,19})$`)
	drafted  = regexp.MustCompile(`^draft-([0-9A-Z]{26})$`)
)

func (a *audit) findStores() error {
	entries, err := os.ReadDir(a.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		aside := len(name) > 8 && name[:8] == "adopted-"
		if aside {
			name = name[8:]
		}
		inc, err := envelope.ParseIncarnation(name)
		if err != nil || !e.IsDir() {
			continue
		}
		s := &store{
			a: a, dir: e.Name(), inc: inc, aside: aside, drafts: map[envelope.ID]string{},
			msgs: map[envelope.ID]*message{}, late: map[envelope.ID]map[uint64]bool{}, book: book{},
			adopted: map[envelope.Incarnation]bool{},
		}
		if err := s.list(); err != nil {
			s.trouble(e.Name(), err)
		}
		a.stores = append(a.stores, s)
	}
	return nil
}

func (s *store) list() error {
	entries, err := os.ReadDir(filepath.Join(s.a.root, s.dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		rel := filepath.Join(s.dir, e.Name())
		if m := drafted.FindStringSubmatch(e.Name()); m != nil {
			if id, err := envelope.ParseID(m[1]); err == nil {
				s.drafts[id] = rel
			}
			continue
		}
		m := numbered.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		n, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			continue
		}
		switch m[1] {
		case "segment":
			s.segments = append(s.segments, &logFile{rel: rel, number: n})
		case "event":
			s.events = append(s.events, &logFile{rel: rel, number: n})
		default:
			s.checkpoints = append(s.checkpoints, rel)
		}
	}
	byNumber := func(x, y *logFile) int { return int(min(max(int64(x.number-y.number), -1), 1)) }
	slices.SortFunc(s.segments, byNumber)
	slices.SortFunc(s.events, byNumber)
	slices.Sort(s.checkpoints)
	slices.Reverse(s.checkpoints)
	return nil
}

func (s *store) open(rel string) (*window, error) {
	return openWindow(filepath.Join(s.a.root, rel))
}

func (s *store) trouble(rel string, err error) {
	s.hurt(Damage{File: rel, What: "cannot be read: " + plain(err)})
}

// plain drops the file's name from an error: the finding has it already.
func plain(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// hurt notes damage; whether the spool knows of it is decided when the scars
// are read.
func (s *store) hurt(d Damage) {
	if limit := s.a.rep.limit; limit < 0 || len(s.pending) < limit {
		s.pending = append(s.pending, d)
		return
	}
	s.a.rep.damage(d)
}

// readEdges is pass 1, over both logs.
func (s *store) readEdges() {
	if !s.aside {
		s.edgesOf(s.segments, false, &s.main)
	}
	s.edgesOf(s.events, true, &s.event)
}

func (s *store) edgesOf(files []*logFile, events bool, sp *span) {
	for i, f := range files {
		if i > 0 && f.number != files[i-1].number+1 {
			s.hurt(Damage{File: f.rel, What: fmt.Sprintf("the %d files before it are missing", f.number-files[i-1].number-1)})
		}
		w, err := s.open(f.rel)
		if err != nil {
			s.trouble(f.rel, err)
			continue
		}
		s.checkHead(w, f, events)
		if f.ok {
			fresh := !events
			batches(w, f.head.seed, func(b batch) bool {
				if b.header || b.trailer {
					sp.learn(b.edge)
					if fresh {
						s.readScars(w, f.head.seed, b)
					}
					fresh = false
				}
				return s.a.ctx.Err() == nil
			})
		}
		w.close()
	}
}

// readScars reads what a starting spool notes in the first batch of the
// segment that it begins: it has to be known before that batch is reached.
func (s *store) readScars(w *window, seed uint64, b batch) {
	for _, r := range records(w, seed, b) {
		if r.kind != recNote || !r.good {
			continue
		}
		c := over(r.body(w))
		if c.octet() != 2 {
			continue
		}
		if sc := readScar(c); c.ok {
			s.scarred(sc)
		}
	}
}

func (s *store) checkHead(w *window, f *logFile, events bool) {
	h, good := readHead(w)
	f.head = h
	switch {
	case good == 0:
		s.hurt(Damage{File: f.rel, Octets: w.size, What: "both file headers are damaged"})
		return
	case h.reader > 1:
		s.a.rep.differ(envelope.ID{}, "", f.rel+": written for a newer reader, left alone")
		return
	case h.events != events || h.number != f.number || h.inc != s.inc:
		s.hurt(Damage{File: f.rel, Octets: w.size, What: "the header belongs to another file"})
		return
	}
	if good == 1 {
		s.hurt(Damage{File: f.rel, Octets: batchStart, Redundant: true, What: "one of the two file headers is damaged"})
	}
	f.ok = true
}
