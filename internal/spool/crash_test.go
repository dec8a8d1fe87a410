package spool

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
)

// promise is what a scenario was told: by it recovery is judged.
type promise struct {
	contents map[envelope.ID][]byte
	rcpts    map[envelope.ID]int
	ended    map[envelope.ID]map[int]bool // finishes that were asked for, told or not
	synced   map[envelope.ID]map[int]bool // finishes in a Commit that returned nil
	drawn    map[envelope.ID]bool
	tried    map[envelope.ID][]byte // every content that was ever given to Commit
}

func newPromise() *promise {
	return &promise{
		contents: map[envelope.ID][]byte{}, rcpts: map[envelope.ID]int{}, ended: map[envelope.ID]map[int]bool{},
		synced: map[envelope.ID]map[int]bool{}, drawn: map[envelope.ID]bool{}, tried: map[envelope.ID][]byte{},
	}
}

// commit draws an ID for one message and notes what came of it.
func (p *promise) commit(s *Spool, content []byte, rcpts int, changes ...envelope.Change) (envelope.ID, error) {
	d, err := s.NewDraft(context.Background())
	if err != nil {
		return envelope.ID{}, err
	}
	if _, err := d.Write(content); err != nil {
		d.Abort()
		return envelope.ID{}, err
	}
	id := s.NextID()
	if p.drawn[id] {
		return id, fmt.Errorf("ID %v was drawn twice", id)
	}
	p.drawn[id] = true
	p.tried[id] = content
	p.rcpts[id] = rcpts
	for _, c := range changes {
		p.note(p.ended, c)
	}
	err = s.Commit(context.Background(), d, []*envelope.Envelope{makeEnvelope(id, "t1", rcpts)}, changes)
	if err != nil {
		return id, err
	}
	p.contents[id] = content
	for _, c := range changes {
		p.note(p.synced, c)
	}
	return id, nil
}

func (p *promise) note(m map[envelope.ID]map[int]bool, c envelope.Change) {
	if m[c.ID] == nil {
		m[c.ID] = map[int]bool{}
	}
	m[c.ID][c.Recipient] = true
}

func (p *promise) finish(s *Spool, id envelope.ID, rcpt int) error {
	c := finish(id, rcpt)
	p.note(p.ended, c)
	return s.Apply(context.Background(), []envelope.Change{c})
}

// check judges what a recovered spool holds.
func (p *promise) check(s *Spool, rec *Recovery) error {
	if rec.Hurt() {
		return fmt.Errorf("a power cut was taken for damage: %v", rec.Findings)
	}
	got := live(s)
	for id, content := range p.contents {
		e, ok := got[id]
		if !ok {
			if len(p.ended[id]) == p.rcpts[id] {
				continue // all its finishes were asked for
			}
			return fmt.Errorf("%v was acknowledged and is gone", id)
		}
		if err := p.checkOne(s, id, content, e); err != nil {
			return err
		}
	}
	for id, e := range got {
		content, ok := p.tried[id]
		if !ok {
			return fmt.Errorf("%v was never committed", id)
		}
		if err := p.checkOne(s, id, content, e); err != nil {
			return err
		}
	}
	led := s.Ledger()
	if t := led.Total(); t.Difference() != 0 {
		return fmt.Errorf("the ledger does not balance: %+v", t)
	}
	for range 3 {
		id := s.NextID()
		if p.drawn[id] || id.IsZero() {
			return fmt.Errorf("%v was drawn again", id)
		}
		p.drawn[id] = true
	}
	return nil
}

func (p *promise) checkOne(s *Spool, id envelope.ID, content []byte, e Entry) error {
	b, err := readContent(s, id)
	if err != nil {
		return fmt.Errorf("%v: %w", id, err)
	}
	if !bytes.Equal(b, content) {
		return fmt.Errorf("%v has other content", id)
	}
	if len(e.Recipients) != p.rcpts[id] {
		return fmt.Errorf("%v has %d recipients", id, len(e.Recipients))
	}
	for i, r := range e.Recipients {
		if r.State.Terminal() && !p.ended[id][i] {
			return fmt.Errorf("%v recipient %d is in state %d, which no one asked for", id, i, r.State)
		}
		if !r.State.Terminal() && p.synced[id][i] {
			return fmt.Errorf("%v recipient %d lost a change that was committed", id, i)
		}
	}
	return nil
}

// crashConfig makes everything happen soon and often.
func crashConfig(m *faultfs.Mem) Config {
	cfg := testConfig(m, "/data/spool")
	cfg.SegmentOctets = 64 << 10
	cfg.InlineMax = 8 << 10
	cfg.BallastOctets = 8 << 10
	cfg.FinishSyncDelay = time.Millisecond
	return cfg
}

// walk is the scenario of doc.go's table: every state is passed. It returns at
// the first error, which a power cut makes.
func walk(p *promise, cfg Config) error {
	ctx := context.Background()
	s, rec, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close(ctx) }()
	if err := p.check(s, rec); err != nil {
		return fmt.Errorf("in the middle: %w", err)
	}
	var ids []envelope.ID
	for i, n := range []int{100, 5000, 20_000, 0, 7000, 9000} { // drafted, streamed, queued, written, accepted
		id, err := p.commit(s, makeContent(n, byte(i)), 1+i%2)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if err := p.finish(s, ids[0], 0); err != nil { // changed, ended
		return err
	}
	if err := p.finish(s, ids[2], 0); err != nil { // ended, with a draft
		return err
	}
	if err := p.finish(s, ids[1], 0); err != nil { // one of two
		return err
	}
	if _, err := p.commit(s, makeContent(300, 9), 1, finish(ids[3], 0)); err != nil { // a change within a commit
		return err
	}
	for i := range 2 { // checkpointed, twice: unneeded segments are freed
		if err := checkpointNow(s); err != nil {
			return err
		}
		if err := s.events.flush(); err != nil { // evented
			return err
		}
		if err := s.events.sync(); err != nil {
			return err
		}
		for j := range 8 { // several segments
			id, err := p.commit(s, makeContent(8000, byte(20+10*i+j)), 1)
			if err != nil {
				return err
			}
			if err := p.finish(s, id, 0); err != nil {
				return err
			}
		}
	}
	for _, id := range ids { // copied
		if _, err := s.copyOne(id); err != nil {
			return err
		}
	}
	for range 3 { // the keeper removes drafts and frees segments after each
		if err := checkpointNow(s); err != nil {
			return err
		}
	}
	_, err = p.commit(s, makeContent(50, 77), 1)
	return err
}

// checkpointNow asks for a checkpoint and waits for it.
func checkpointNow(s *Spool) error {
	count := func() int64 { return s.stats.checkpoints.Load() + s.stats.checkpointErrors.Load() }
	n := count()
	s.askCheckpoint()
	tick := time.NewTicker(50 * time.Microsecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for count() == n {
		select {
		case <-tick.C:
			if s.stats.abandoned.Load() > 0 {
				return fmt.Errorf("the disk failed under a checkpoint")
			}
		case <-deadline:
			return fmt.Errorf("no checkpoint came")
		}
	}
	return nil
}

func TestEveryStateSurvivesAPowerCutAtEveryCall(t *testing.T) {
	t.Parallel()
	whole := faultfs.NewMem()
	if err := walk(newPromise(), crashConfig(whole)); err != nil {
		t.Fatalf("without a cut: %v", err)
	}
	calls := whole.Calls()
	t.Logf("%d mutating calls", calls)
	step := 4 // SPOOL_DEEP=1: every call; the walk differs a little each time, so that runs add up
	if os.Getenv("SPOOL_DEEP") != "" {
		step = 1
	}
	for n := 0; n < calls; n += step {
		m := faultfs.NewMem()
		m.CutAfter(n)
		p := newPromise()
		_ = walk(p, crashConfig(m))
		for _, after := range []struct {
			mode faultfs.Unsynced
			seed uint64
		}{{faultfs.KeepNone, 0}, {faultfs.KeepAll, 0}, {faultfs.KeepSome, uint64(n)}, {faultfs.KeepSome, uint64(n) + 1e6}} {
			if err := recoverOnce(p, m.CrashClone(after.mode, after.seed)); err != nil {
				t.Fatalf("cut after call %d, %v seed %d: %v", n, after.mode, after.seed, err)
			}
		}
	}
}

// recoverOnce opens the disk after a power cut, judges it, audits it, and does
// it again after a clean close.
func recoverOnce(told *promise, m *faultfs.Mem) error {
	p := *told
	p.drawn = maps.Clone(told.drawn) // this is one of several possible futures
	cfg := crashConfig(m)
	for range 2 {
		s, rec, err := Open(context.Background(), cfg)
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		if err := p.check(s, rec); err != nil {
			return err
		}
		rep, err := s.Audit(context.Background())
		if err != nil {
			return err
		}
		if len(rep.Findings) > 0 {
			return fmt.Errorf("the audit is not silent: %v", rep.Findings)
		}
		if err := s.Close(context.Background()); err != nil {
			return fmt.Errorf("close: %w", err)
		}
	}
	return nil
}
