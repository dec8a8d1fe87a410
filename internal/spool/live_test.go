package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

func TestManyWritersReadersAndTheKeeperAgree(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	m := faultfs.NewMem()
	cfg := testConfig(m, "/data/spool")
	cfg.CheckpointOctets = 64 << 10
	cfg.RoomEvery = time.Millisecond
	cfg.EventSyncEvery = time.Millisecond
	s, _ := mustOpen(t, cfg)
	var wg sync.WaitGroup
	var mu sync.Mutex
	left := map[envelope.ID][]byte{}
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range 60 {
				c := makeContent(rng.IntN(20_000), byte(i))
				env, err := commitOne(s, c, fmt.Sprintf("t%d", w%3), 1+rng.IntN(3))
				if err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				if b, err := readContent(s, env.ID); err != nil || !bytes.Equal(b, c) {
					t.Errorf("content of %v: %v", env.ID, err)
				}
				if !s.Claim(env.ID) || s.Claim(env.ID) {
					t.Errorf("%v can be claimed twice, or not at all", env.ID)
				}
				ended := rng.IntN(4) > 0
				for r := range env.Forward {
					ch := finish(env.ID, r)
					if !ended && r == 0 {
						ch = deferred(env.ID, r, s.cfg.Clock())
					}
					if err := s.Apply(context.Background(), []envelope.Change{ch}); err != nil {
						t.Errorf("apply: %v", err)
					}
				}
				s.Unclaim(env.ID)
				if !ended {
					mu.Lock()
					left[env.ID] = c
					mu.Unlock()
				}
			}
		}()
	}
	audits := make(chan error, 1)
	go func() {
		for range 5 {
			rep, err := s.Audit(context.Background())
			if err == nil && len(rep.Findings) > 0 {
				err = fmt.Errorf("a false difference: %v", rep.Findings)
			}
			if err != nil {
				audits <- err
				return
			}
		}
		audits <- nil
	}()
	wg.Wait()
	if err := <-audits; err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Recycled == 0 || st.Checkpoints == 0 || st.Copied == 0 {
		t.Errorf("the keeper had nothing to do: %+v", st)
	}
	mustClose(t, s)
	s, rec := mustOpen(t, cfg)
	if rec.Hurt() || rec.Live != len(left) {
		t.Fatalf("live %d, want %d; %v", rec.Live, len(left), rec.Findings)
	}
	for id, c := range left {
		wantContent(t, s, id, c)
	}
	mustClose(t, s)
}

func TestACopiedMessageOutlivesItsSegmentAndKeepsItsStatus(t *testing.T) {
	m := faultfs.NewMem()
	cfg := testConfig(m, "/data/spool")
	cfg.RoomEvery = time.Hour // the test is the keeper
	s, _ := mustOpen(t, cfg)
	want := makeContent(5000, 1)
	big := makeContent(40_000, 2)
	a, b := mustCommit(t, s, want, 2), mustCommit(t, s, big, 1)
	next := time.Unix(1_700_009_000, 0).UTC()
	mustApply(t, s, deferred(a.ID, 0, next), finish(a.ID, 1))
	for i := range 40 {
		mustApply(t, s, finish(mustCommit(t, s, makeContent(9000, byte(i)), 1).ID, 0))
	}
	s.copyForward()
	for range 2 {
		if err := checkpointNow(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.events.flush(), s.events.sync()); err != nil {
		t.Fatal(err)
	}
	s.nudgeKeeper()
	waitFor(t, "the first segment to be freed", func() bool { return s.oldestSegment().number > 1 })
	dir := s.dir
	mustClose(t, s)
	for _, full := range []bool{false, true} {
		if full {
			removeCheckpoints(t, m, dir)
		}
		s, rec := mustOpen(t, cfg)
		wantContent(t, s, a.ID, want)
		wantContent(t, s, b.ID, big)
		_, st, err := s.Envelope(a.ID)
		if err != nil || st[0].Attempts != 1 || !st[0].NextAttempt.Equal(next) || st[1].State != envelope.Delivered || rec.Live != 2 {
			t.Errorf("full scan %v: %+v, %v, live %d, %v", full, st, err, rec.Live, rec.Findings)
		}
		led := s.Ledger()
		if total := led.Total(); total.Difference() != 0 || led.Gap != full {
			t.Errorf("full scan %v: ledger %+v, gap %v", full, total, led.Gap)
		}
		mustClose(t, s)
	}
}

func waitFor(t *testing.T, what string, fact func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !fact() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestADamagedCheckpointFallsBackAndSaysSo(t *testing.T) {
	m := faultfs.NewMem()
	cfg := testConfig(m, "/data/spool")
	s, _ := mustOpen(t, cfg)
	var ids []envelope.ID
	for i := range 5 {
		ids = append(ids, mustCommit(t, s, makeContent(3000, byte(i)), 2).ID)
		mustApply(t, s, finish(ids[i], 0))
		if err := checkpointNow(s); err != nil {
			t.Fatal(err)
		}
	}
	before := s.Ledger()
	mustClose(t, s)
	dir := onlyDir(t, m, cfg.Dir)
	flip := func(n int) {
		names, err := m.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, e := range names {
			if _, ok := fileNumber(e.Name(), "checkpoint"); ok {
				list = append(list, path.Join(dir, e.Name()))
			}
		}
		name := list[len(list)-n]
		b := readAll(t, m, name)
		overwrite(t, m, name, int64(len(b)/2), []byte{b[len(b)/2] ^ 1})
	}
	base := m
	for hurt := 1; hurt <= 2; hurt++ {
		m = base.CrashClone(faultfs.KeepAll, 0)
		for n := 1; n <= hurt; n++ {
			flip(n)
		}
		cfg.FS = m
		s, rec := mustOpen(t, cfg)
		bad := 0
		for _, f := range rec.Findings {
			if f.Kind == BadCheckpoint {
				bad++
			}
		}
		led := s.Ledger()
		got, want := led.Total(), before.Total()
		if bad != hurt || rec.Live != 5 || got != want {
			t.Errorf("%d hurt: %d named, live %d, ledger %+v, want %+v; %v", hurt, bad, rec.Live, got, want, rec.Findings)
		}
		mustClose(t, s)
	}
}

func TestADirectoryFoundElsewhereIsAdopted(t *testing.T) {
	t.Parallel()
	m := faultfs.NewMem()
	cfg := testConfig(m, "/data/spool")
	s, _ := mustOpen(t, cfg)
	contents := map[envelope.ID][]byte{}
	for i := range 20 {
		c := makeContent(i*2000, byte(i))
		contents[mustCommit(t, s, c, 2).ID] = c
	}
	var done envelope.ID
	for id := range contents {
		mustApply(t, s, finish(id, 0))
		done = id
	}
	mustApply(t, s, finish(done, 1))
	delete(contents, done)
	old := s.Incarnation()
	before := s.Ledger()
	mustClose(t, s)

	cfg.Identity = NodeIdentity{Machine: "another", Inode: 1}
	whole := m.CrashClone(faultfs.KeepAll, 0)
	cfg.FS = whole
	calls := whole.Calls()
	checkAdopted(t, cfg, old, contents, before)
	calls = whole.Calls() - calls

	for n := 0; n < calls; n += 5 { // an adoption that is cut short is done again
		c := m.CrashClone(faultfs.KeepAll, 0)
		c.CutAfter(c.Calls() + n)
		cfg.FS = c
		if s, _, err := Open(context.Background(), cfg); err == nil {
			_ = s.Close(context.Background())
		}
		cfg.FS = c.CrashClone(faultfs.KeepSome, uint64(n))
		checkAdopted(t, cfg, old, contents, before)
	}
}

func checkAdopted(t *testing.T, cfg Config, old envelope.Incarnation, contents map[envelope.ID][]byte, before Ledger) {
	t.Helper()
	for i := range 2 {
		s, rec := mustOpen(t, cfg)
		if s.Incarnation() == old {
			t.Fatalf("the incarnation of another machine was continued")
		}
		if rec.Hurt() || rec.Live != len(contents) {
			t.Fatalf("open %d: live %d, want %d; %v", i, rec.Live, len(contents), rec.Findings)
		}
		for id, c := range contents {
			wantContent(t, s, id, c)
			_, st, err := s.Envelope(id)
			if err != nil || st[0].State != envelope.Delivered || st[1].State != envelope.Queued {
				t.Fatalf("statuses of %v: %v, %v", id, st, err)
			}
		}
		led := s.Ledger()
		if got, want := led.Total(), before.Total(); got != want {
			t.Fatalf("ledger %+v, want %+v", got, want)
		}
		if rep, err := s.Audit(context.Background()); err != nil || len(rep.Findings) > 0 {
			t.Fatalf("audit: %v, %v", err, rep)
		}
		n := 0
		for id := range contents {
			if err := s.Events(context.Background(), Filter{ID: id}, func(Event) bool { n++; return true }); err != nil {
				t.Fatal(err)
			}
		}
		if n < 2*len(contents) {
			t.Fatalf("%d events of %d adopted messages", n, len(contents))
		}
		mustClose(t, s)
	}
}

func TestALockedDirectoryIsRefused(t *testing.T) {
	cfg := testConfig(durable.OS(), t.TempDir())
	s, _ := mustOpen(t, cfg)
	if _, _, err := Open(context.Background(), cfg); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("second Open: %v, want ErrLocked", err)
	}
	mustClose(t, s)
}

func TestTraceFindsByIDAddressAndSuffix(t *testing.T) {
	m := faultfs.NewMem()
	cfg := testConfig(m, "/data/spool")
	cfg.SegmentOctets = 64 << 10
	s, _ := mustOpen(t, cfg)
	var ids []envelope.ID
	for i := range 300 {
		ids = append(ids, mustCommit(t, s, makeContent(50, byte(i)), 1).ID)
		mustApply(t, s, deferred(ids[i], 0, s.cfg.Clock()), finish(ids[i], 0))
	}
	s.Refused(RefusedEvent{
		Tenant: "t1", Reverse: smtp.Path{Local: "bad", Domain: "spam.example"},
		Forward: []smtp.Path{{Local: "rcpt0", Domain: "example.test"}}, Reply: smtp.Reply{Code: 550, Text: []string{"no"}},
	})
	check := func() {
		t.Helper()
		var kinds []EventKind
		for _, i := range []int{0, 150, 299} {
			kinds = kinds[:0]
			if err := s.Events(context.Background(), Filter{ID: ids[i]}, func(e Event) bool { kinds = append(kinds, e.Kind); return true }); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(kinds) != fmt.Sprint([]EventKind{EventAccepted, EventMoved, EventFinished}) {
				t.Errorf("story of message %d: %v", i, kinds)
			}
			text := ids[i].String()
			if got, err := s.Resolve(text[len(text)-9:]); err != nil || len(got) != 1 || got[0] != ids[i] {
				t.Errorf("Resolve: %v, %v", got, err)
			}
		}
		found := map[envelope.ID]bool{}
		refused := 0
		err := s.Events(context.Background(), Filter{Address: "RCPT0@example.test", Limit: 10}, func(e Event) bool {
			if e.Refused != nil {
				refused++
			} else {
				found[e.ID] = true
			}
			return true
		})
		if err != nil || len(found) != 10 || !found[ids[299]] || refused != 1 {
			t.Errorf("by address: %d messages, %d refused, %v", len(found), refused, err)
		}
	}
	check()
	mustClose(t, s)
	s, _ = mustOpen(t, cfg)
	check()
	if len(s.events.files) < 3 {
		t.Errorf("%d event files: the filters were not used", len(s.events.files))
	}
	mustClose(t, s)
}

func TestEventsAreShedCountedAndNamedAboveTheBound(t *testing.T) {
	cfg := testConfig(faultfs.NewMem(), "/data/spool")
	cfg.SegmentOctets = 64 << 10
	cfg.EventLogMax = 256 << 10
	s, _ := mustOpen(t, cfg)
	for i := range 1500 {
		mustApply(t, s, finish(mustCommit(t, s, makeContent(10, byte(i)), 1).ID, 0))
	}
	shed := 0
	if err := s.Events(context.Background(), Filter{}, func(e Event) bool {
		if e.Kind == EventShed {
			shed++
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if s.events.total > cfg.EventLogMax || s.Stats().Shed == 0 || shed == 0 {
		t.Errorf("%d octets of events, %d files shed, %d named", s.events.total, s.Stats().Shed, shed)
	}
	if rep, err := s.Audit(context.Background()); err != nil || len(rep.Findings) > 0 {
		t.Errorf("audit: %v %v", err, rep.Findings)
	}
	mustClose(t, s)
}
