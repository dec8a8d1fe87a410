package spool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
)

// spaceFS says how much room there is, and counts how often it was asked.
type spaceFS struct {
	durable.FS
	free, inodes, asked atomic.Int64
}

func (f *spaceFS) Space(string) (durable.Space, error) {
	f.asked.Add(1)
	return durable.Space{Total: 1 << 40, Free: f.free.Load(), Inodes: 1 << 20, IFree: f.inodes.Load()}, nil
}

func TestRoomRefusesBeforeContentAndAsksTheDiskSeldom(t *testing.T) {
	fsys := &spaceFS{FS: faultfs.NewMem()}
	fsys.free.Store(10 << 20)
	fsys.inodes.Store(5000)
	cfg := testConfig(fsys, "/data/spool")
	cfg.MinFreeOctets, cfg.MinFreeInodes = 1<<20, 1000
	cfg.RoomEvery = 2 * time.Millisecond
	s, _ := mustOpen(t, cfg)
	if err := s.Room(8 << 20); err != nil {
		t.Errorf("Room with room: %v", err)
	}
	if err := s.Room(9<<20 + 1); !errors.Is(err, ErrNoRoom) {
		t.Errorf("Room for more than there is: %v", err)
	}
	asked := fsys.asked.Load()
	for range 1000 {
		_ = s.Room(1)
	}
	if n := fsys.asked.Load() - asked; n > 20 {
		t.Errorf("a thousand calls of Room asked the disk %d times", n)
	}
	for _, short := range []func(){
		func() { fsys.free.Store(1 << 10) },
		func() { fsys.free.Store(10 << 20); fsys.inodes.Store(10) },
	} {
		short()
		waitFor(t, "Room to refuse", func() bool { return errors.Is(s.Room(0), ErrNoRoom) })
		if _, err := s.NewDraft(context.Background()); !errors.Is(err, ErrNoRoom) {
			t.Errorf("NewDraft without room: %v", err)
		}
	}
	fsys.inodes.Store(5000)
	waitFor(t, "Room to accept again", func() bool { return s.Room(0) == nil })
	mustClose(t, s)
}

// budget is a bound on octets.
type budget struct {
	mu        sync.Mutex
	left, max int64
}

func (b *budget) TryTake(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}

func (b *budget) Give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
}

func TestContentInMemoryIsBoundedAndGivenBack(t *testing.T) {
	mem := &budget{left: 100 << 10, max: 100 << 10}
	cfg := testConfig(faultfs.NewMem(), "/data/spool")
	cfg.InlineMax = 32 << 10
	cfg.Memory = mem
	s, _ := mustOpen(t, cfg)
	var drafts []*Draft
	var err error
	for {
		var d *Draft
		if d, err = s.NewDraft(context.Background()); err != nil {
			break
		}
		drafts = append(drafts, d)
		if _, err = d.Write(makeContent(30<<10, 1)); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrMemory) || len(drafts) < 3 {
		t.Errorf("%d drafts, then %v", len(drafts), err)
	}
	for i, d := range drafts {
		if i%2 == 0 && d.err == nil {
			env := makeEnvelope(s.NextID(), "t1", 1)
			if err := s.Commit(context.Background(), d, []*envelope.Envelope{env}, nil); err != nil {
				t.Error(err)
			}
		}
		d.Abort()
	}
	d, err := s.NewDraft(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // far above the bound: it streams
		if _, err := d.Write(makeContent(10<<10, 2)); err != nil {
			t.Fatal(err)
		}
	}
	d.Abort()
	if mem.left != mem.max {
		t.Errorf("%d octets were not given back", mem.max-mem.left)
	}
	if n := s.active.Load(); n != 0 {
		t.Errorf("%d drafts still count as active", n)
	}
	dir := s.dir
	mustClose(t, s)
	names, err := cfg.FS.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if len(e.Name()) > 6 && e.Name()[:6] == "draft-" {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func TestChangesAloneAreSyncedOnceADelayAtMost(t *testing.T) {
	cfg := testConfig(faultfs.NewMem(), "/data/spool")
	cfg.SegmentOctets = 8 << 20
	cfg.FinishSyncDelay = 20 * time.Millisecond
	s, _ := mustOpen(t, cfg)
	var ids []envelope.ID
	for i := range 500 {
		ids = append(ids, mustCommit(t, s, makeContent(10, byte(i)), 1).ID)
	}
	before, began := s.Stats(), time.Now()
	for _, id := range ids {
		mustApply(t, s, finish(id, 0))
	}
	waitFor(t, "the last change to be synced", func() bool { return s.synced.Load() >= s.written.Load() })
	syncs := s.Stats().FinishSyncs - before.FinishSyncs
	if most := int64(time.Since(began)/cfg.FinishSyncDelay) + 1; syncs < 1 || syncs > most {
		t.Errorf("%d syncs for 500 changes in %v, at most %d are due", syncs, time.Since(began), most)
	}
	mustClose(t, s)
}

func TestASingleSessionDoesNotWaitForOthers(t *testing.T) {
	s, _ := mustOpen(t, testConfig(faultfs.NewMem(), "/data/spool"))
	for i := range 100 {
		mustCommit(t, s, makeContent(10, byte(i)), 1)
	}
	if st := s.Stats(); st.Gathers != 0 || st.AcceptSyncs < 100 {
		t.Errorf("%d of %d batches waited though no one else was there", st.Gathers, st.AcceptSyncs)
	}
	mustClose(t, s)
}

func TestSlowDraftsDoNotHoldUpOthersForLong(t *testing.T) {
	s, _ := mustOpen(t, testConfig(faultfs.NewMem(), "/data/spool"))
	for range 50 { // clients that never finish
		d, err := s.NewDraft(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abort()
	}
	for i := range 400 {
		mustCommit(t, s, makeContent(10, byte(i)), 1)
	}
	if st := s.Stats(); st.Gathers > 60 {
		t.Errorf("%d of 400 batches waited for drafts that do not come", st.Gathers)
	}
	mustClose(t, s)
}

func TestTheMetricsSayWhatHappened(t *testing.T) {
	reg := prometheus.NewRegistry()
	cfg := testConfig(faultfs.NewMem(), "/data/spool")
	cfg.Metrics = reg
	s, _ := mustOpen(t, cfg)
	env := mustCommit(t, s, makeContent(10, 1), 2)
	mustApply(t, s, finish(env.ID, 0))
	got, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	series := 0
	for _, f := range got {
		for _, m := range f.Metric {
			series++
			label := ""
			for _, l := range m.Label {
				label += "/" + l.GetValue()
			}
			values[f.GetName()+label] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"postern_spool_messages_total": 1, "postern_spool_live_messages": 1, "postern_spool_syncs_total/accept": 1,
		"postern_spool_ledger_recipients/source_inbound": 2, "postern_spool_ledger_recipients/delivered": 1,
		"postern_spool_ledger_recipients/live": 1, "postern_spool_ledger_recipients/difference": 0,
	} {
		if values[name] != want {
			t.Errorf("%s is %v, want %v", name, values[name], want)
		}
	}
	if series > 80 {
		t.Errorf("%d series", series)
	}
	mustClose(t, s)
}
