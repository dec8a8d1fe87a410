package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/telemetry"
)

// Spool is the durable log of one data directory. All methods are safe for
// concurrent use. Lock order: mu, idx.mu, then segMu or spareMu or the event
// writer's; none is held while waiting for the disk.
type Spool struct {
	cfg         Config
	fs          durable.FS
	root        string // Config.Dir
	dir         string // the incarnation's
	incarnation envelope.Incarnation
	lock        io.Closer
	weakSums    bool
	maxBatch    int
	since       time.Time // the ledger counts since
	gap         bool

	seq         atomic.Uint64 // next sequence to draw
	limit       atomic.Uint64 // drawn IDs stay below: it is on the disk
	commitLimit uint64        // committer: the limit in the last header written
	synced      atomic.Uint64 // last batch that is synced
	written     atomic.Uint64 // last batch that is written

	mu          sync.Mutex
	open        *batch   // being filled
	full        []*batch // filled, waiting for the committer
	inflight    *batch   // being written by the committer
	idle        bool     // the committer sleeps and wants to hear of anything
	wakeAt      int      // the committer gathers and wants this many waiters
	closed      bool
	broken      error // commits are refused until brokenUntil
	brokenUntil time.Time
	kick        chan struct{} // one token: wake the committer

	commit committer // the committer's own
	active atomic.Int64
	idx    *index
	events *eventWriter

	segMu sync.RWMutex
	segs  map[uint64]*segment
	voids []span // batches that were abandoned

	nextSegment chan *segment // one: the prepared segment
	wantNext    chan uint64   // one: the number to prepare
	needNow     chan need     // the committer waits
	urgent      atomic.Bool   // it does
	headLeft    atomic.Int64  // octets left in the head
	headNumber  atomic.Uint64
	tight       atomic.Bool // no next segment could be made
	reserved    atomic.Bool // the ballast was given up: what is left is for changes
	spareMu     sync.Mutex
	spares      []*prepared
	spareNumber atomic.Uint64

	checkpointWanted atomic.Bool
	keep             keeper
	room             roomWatch
	free             atomic.Int64 // octets at the last look
	spent            atomic.Int64 // octets used since
	claimMu          sync.Mutex
	claims           map[envelope.ID]struct{}

	stats       counters
	stop        chan struct{} // closed: background work ends
	prepareStop chan struct{} // closed after the committer ended
	group       sync.WaitGroup
	closeOnce   sync.Once
	closeErr    error
}

// Open recovers the spool in cfg.Dir and starts it. Damage is reported in
// Recovery and never makes Open fail; a directory that another process has
// locked, or that cannot be written, does.
func Open(ctx context.Context, cfg Config) (*Spool, *Recovery, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, nil, err
	}
	return open(ctx, cfg, telemetry.Weakened(telemetry.UnseededCRC))
}

func open(ctx context.Context, cfg Config, weak bool) (*Spool, *Recovery, error) {
	began := time.Now()
	s := newSpool(cfg, weak)
	rec := &Recovery{}
	if err := s.identify(rec); err != nil {
		return nil, nil, fmt.Errorf("open spool %s: %w", cfg.Dir, err)
	}
	if err := s.begin(ctx, rec); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open spool %s: %w", s.dir, err), s.abandonOpen())
	}
	rec.Duration = time.Since(began)
	s.logRecovery(rec)
	return s, rec, nil
}

func newSpool(cfg Config, weak bool) *Spool {
	s := &Spool{
		cfg: cfg, fs: cfg.FS, root: cfg.Dir, weakSums: weak,
		maxBatch:    min(maxBatchOctets, int(cfg.SegmentOctets)/2),
		open:        newBatch(),
		kick:        make(chan struct{}, 1),
		idx:         newIndex(),
		segs:        map[uint64]*segment{},
		nextSegment: make(chan *segment, 1),
		wantNext:    make(chan uint64, 1),
		needNow:     make(chan need),
		claims:      map[envelope.ID]struct{}{},
		stop:        make(chan struct{}),
		prepareStop: make(chan struct{}),
	}
	s.events = newEventWriter(s)
	s.keep.init()
	s.room.init()
	return s
}

// begin recovers and starts everything. What was opened is in s when it fails.
func (s *Spool) begin(ctx context.Context, rec *Recovery) error {
	r, err := s.recover(ctx, rec)
	if err != nil {
		return err
	}
	if err := s.startHead(r); err != nil {
		return err
	}
	if err := s.events.start(ctx, r); err != nil {
		return err
	}
	s.group.Add(2)
	go s.guard("committer", s.runCommitter)
	go s.guard("preparer", s.runPreparer)
	if err := s.writeScars(ctx, r); err != nil {
		s.closeWriters()
		return err
	}
	if err := s.adoptAll(ctx, rec); err != nil {
		s.closeWriters()
		return err
	}
	s.events.addAdopted()
	s.nameLost(ctx, r, rec)
	rec.Live = s.idx.live
	s.lookAtRoom()
	s.keepBallast()
	s.group.Add(2)
	go s.guard("event writer", s.events.run)
	go s.guard("keeper", s.runKeeper)
	// A node that ends again and again before a checkpoint is due would keep, and
	// read at its next start, one segment more each time.
	if s.segmentCount() > keptCheckpoints {
		s.askCheckpoint()
	}
	if s.cfg.Metrics != nil {
		if err := s.cfg.Metrics.Register(collector{s}); err != nil {
			return errors.Join(fmt.Errorf("register metrics: %w", err), s.Close(ctx))
		}
	}
	return nil
}

// guard is the one recover of each goroutine. A panic in custody code is a
// defect after which nothing that the goroutine did can be trusted: the spool
// refuses everything from then on.
func (s *Spool) guard(name string, run func()) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Logger.Error("spool goroutine panicked", "name", name, "panic", fmt.Sprint(p))
			s.giveUp()
		}
	}()
	run()
}

// giveUp tells everyone who waits that nothing is known.
func (s *Spool) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, b := range append(s.full, s.inflight, s.open) {
		if b != nil && !b.released {
			b.released = true
			b.err, b.lazyErr = ErrUnknown, ErrUnknown
			close(b.done)
		}
	}
}

// NextID draws an ID that was never drawn before and never will be again. It
// is zero, which Commit refuses, only when the disk failed for so long that no
// more may be drawn.
func (s *Spool) NextID() envelope.ID {
	n := s.seq.Add(1) - 1
	limit := s.limit.Load()
	if n >= limit {
		return envelope.ID{}
	}
	if n == limit-reserve/2 || n == limit-reserve/4 {
		s.mu.Lock()
		s.idle = false
		s.wake()
		s.mu.Unlock()
	}
	return envelope.NewID(s.incarnation, n)
}

// Incarnation is the first part of every ID drawn here.
func (s *Spool) Incarnation() envelope.Incarnation { return s.incarnation }

// Close writes and syncs what is queued, writes a last checkpoint, and gives
// the directory free. It waits for open Contents no longer than ctx allows;
// later calls return what the first did.
func (s *Spool) Close(ctx context.Context) error {
	s.closeOnce.Do(func() { s.closeErr = s.shut(ctx) })
	return s.closeErr
}

func (s *Spool) shut(ctx context.Context) error {
	s.closeWriters()
	err := s.lastCheckpoint(ctx)
	err = errors.Join(err, s.events.close())
	return errors.Join(err, s.closeFiles())
}

// closeWriters ends all goroutines: what is queued is written first.
func (s *Spool) closeWriters() {
	s.mu.Lock()
	s.closed, s.idle = true, false
	s.wake()
	s.mu.Unlock()
	close(s.stop)
	s.group.Wait()
}

func (s *Spool) closeFiles() error {
	var err error
	select {
	case seg := <-s.nextSegment:
		err = seg.file.Close()
	default:
	}
	s.segMu.Lock()
	for _, seg := range s.segs {
		if seg.file != nil {
			err = errors.Join(err, seg.file.Close())
		}
	}
	s.segMu.Unlock()
	for p := s.takeSpare(); p != nil; p = s.takeSpare() {
		err = errors.Join(err, p.file.Close())
	}
	return errors.Join(err, s.lock.Close())
}
