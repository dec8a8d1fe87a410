package spool

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
)

// failConfig is quick to sync changes, so that syncs fail too.
func failConfig(fsys durable.FS) Config {
	cfg := testConfig(fsys, "/data/spool")
	cfg.SegmentOctets = 64 << 10
	cfg.InlineMax = 8 << 10
	cfg.FinishSyncDelay = time.Millisecond
	cfg.RoomEvery = 5 * time.Millisecond
	return cfg
}

// failWalk commits and finishes, going on after errors as a node does.
func failWalk(p *promise, cfg Config) (errs int, err error) {
	s, _, err := Open(context.Background(), cfg)
	if err != nil {
		return 1, nil
	}
	var ids []envelope.ID
	for i := range 12 {
		id, err := p.commit(s, makeContent([]int{100, 9000, 5000}[i%3], byte(i)), 1)
		if err != nil {
			if !errors.Is(err, ErrIO) && !errors.Is(err, ErrNoRoom) {
				return errs, fmt.Errorf("an error of the disk came out as %w", err)
			}
			errs++
			continue
		}
		ids = append(ids, id)
		if i%2 == 0 {
			if err := p.finish(s, id, 0); err != nil {
				errs++
				delete(p.ended[id], 0) // it may be on the disk, and may not
				p.ended[id][0] = true
			}
		}
		if i == 6 {
			_ = checkpointNow(s)
		}
	}
	for _, id := range ids {
		if _, live := live(s)[id]; !live {
			continue
		}
		if b, err := readContent(s, id); err != nil || len(b) != len(p.contents[id]) {
			return errs, fmt.Errorf("%v cannot be read: %w", id, err)
		}
	}
	led := s.Ledger()
	if l := led.Total(); l.Difference() != 0 {
		return errs, fmt.Errorf("the ledger does not balance: %+v", l)
	}
	if err := s.Close(context.Background()); err != nil {
		errs++
	}
	return errs, nil
}

func TestAFailedWriteOrSyncIsAnAnswerAndNeverALoss(t *testing.T) {
	for _, op := range []faultfs.Op{faultfs.Write, faultfs.Sync, faultfs.SyncDir, faultfs.Create, faultfs.Rename, faultfs.Allocate} {
		for _, fault := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			t.Run(fmt.Sprintf("%v %v", op, fault), func(t *testing.T) {
				t.Parallel()
				failEach(t, op, fault)
			})
		}
	}
}

// failEach fails the n-th call of one kind, for every n that there is.
func failEach(t *testing.T, op faultfs.Op, fault syscall.Errno) {
	seen := 0
	for n := 1; n < 400; n++ {
		m := faultfs.NewMem()
		var hit atomic.Bool
		var calls atomic.Int64
		fsys := faultfs.Failing(m, func(o faultfs.Op, _ string, _ int) error {
			if o == op && calls.Add(1) == int64(n) {
				hit.Store(true)
				return fault
			}
			return nil
		})
		p := newPromise()
		errs, err := failWalk(p, failConfig(fsys))
		if err != nil {
			t.Fatalf("%v %d: %v", op, n, err)
		}
		seen += errs
		mode := []faultfs.Unsynced{faultfs.KeepNone, faultfs.KeepAll}[n%2]
		if err := recoverOnce(p, m.CrashClone(mode, 0)); err != nil {
			t.Fatalf("%v %d, then a power cut, %v: %v", op, n, mode, err)
		}
		if !hit.Load() {
			break
		}
	}
	t.Logf("%d errors were answered", seen)
}

func TestADiskThatStaysBrokenRefusesAndARepairedOneAccepts(t *testing.T) {
	m := faultfs.NewMem()
	var broken atomic.Bool
	fsys := faultfs.Failing(m, func(o faultfs.Op, _ string, _ int) error {
		if broken.Load() && (o == faultfs.Write || o == faultfs.Sync) {
			return syscall.EIO
		}
		return nil
	})
	cfg := failConfig(fsys)
	s, _ := mustOpen(t, cfg)
	p := newPromise()
	id, err := p.commit(s, makeContent(100, 1), 1)
	if err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	for range 20 {
		if _, err := p.commit(s, makeContent(100, 2), 1); !errors.Is(err, ErrIO) {
			t.Fatalf("commit on a broken disk: %v", err)
		}
	}
	if err := s.Apply(context.Background(), []envelope.Change{finish(id, 0)}); err == nil {
		t.Fatal("a change was called written on a broken disk")
	}
	broken.Store(false)
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err = p.commit(s, makeContent(100, 3), 1); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Fatalf("commit on a repaired disk: %v", err)
	}
	mustClose(t, s)
	if err := recoverOnce(p, m.CrashClone(faultfs.KeepNone, 0)); err != nil {
		t.Fatal(err)
	}
}

func TestAFullDiskRefusesMailAndStillTakesFinishes(t *testing.T) {
	m := faultfs.NewMem()
	full := faultfs.Full(m, 1<<20)
	cfg := failConfig(full)
	cfg.BallastOctets = 128 << 10
	s, _ := mustOpen(t, cfg)
	p := newPromise()
	var ids []envelope.ID
	var err error
	for i := range 1000 {
		var id envelope.ID
		if id, err = p.commit(s, makeContent(7000, byte(i)), 1); err != nil {
			break
		}
		ids = append(ids, id)
	}
	if !errors.Is(err, ErrNoRoom) {
		t.Fatalf("on a full disk: %v after %d messages, want ErrNoRoom", err, len(ids))
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, id := range ids { // each is tried again, as the queue does
		for err = p.finish(s, id, 0); err != nil; err = p.finish(s, id, 0) {
			if !errors.Is(err, ErrNoRoom) || time.Now().After(deadline) {
				t.Fatalf("finish on a full disk: %v", err)
			}
		}
	}
	for _, err = p.commit(s, makeContent(100, 1), 1); err != nil; _, err = p.commit(s, makeContent(100, 1), 1) {
		if time.Now().After(deadline) {
			t.Fatalf("commit after the mail had gone: %v", err)
		}
	}
	mustClose(t, s)
	if err := recoverOnce(p, m.CrashClone(faultfs.KeepNone, 0)); err != nil {
		t.Fatal(err)
	}
}
