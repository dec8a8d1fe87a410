package spool

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
)

// machine drives a spool with random calls, cuts its power, and judges it by
// what it promised.
type machine struct {
	m   *faultfs.Mem
	cfg Config
	s   *Spool
	p   *promise
	ids []envelope.ID
}

func (k *machine) open(t *rapid.T) {
	k.cfg.FS = k.m
	s, rec, err := Open(context.Background(), k.cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	k.s = s
	if err := k.p.check(s, rec); err != nil {
		t.Fatal(err)
	}
	rep, err := s.Audit(context.Background())
	if err != nil || len(rep.Findings) > 0 {
		t.Fatalf("audit: %v %v", err, rep.Findings)
	}
	k.ids = k.ids[:0]
	for id := range live(s) {
		k.ids = append(k.ids, id)
	}
	slices.SortFunc(k.ids, func(a, b envelope.ID) int { return int(a.Sequence()) - int(b.Sequence()) })
}

func (k *machine) commit(t *rapid.T) {
	n := rapid.IntRange(0, 12_000).Draw(t, "octets")
	id, err := k.p.commit(k.s, makeContent(n, byte(n)), rapid.IntRange(1, 3).Draw(t, "recipients"))
	if err != nil {
		t.Fatal(err)
	}
	k.ids = append(k.ids, id)
}

func (k *machine) change(t *rapid.T) {
	if len(k.ids) == 0 {
		return
	}
	id := k.ids[rapid.IntRange(0, len(k.ids)-1).Draw(t, "message")]
	rcpt := rapid.IntRange(0, k.p.rcpts[id]-1).Draw(t, "recipient")
	if rapid.Bool().Draw(t, "deferred") {
		if err := k.s.Apply(context.Background(), []envelope.Change{deferred(id, rcpt, time.Unix(5, 0))}); err != nil && k.s.isLive(id) {
			t.Fatal(err)
		}
		return
	}
	if err := k.p.finish(k.s, id, rcpt); err != nil && k.s.isLive(id) {
		t.Fatal(err)
	}
}

func (k *machine) copy(t *rapid.T) {
	if len(k.ids) == 0 {
		return
	}
	if _, err := k.s.copyOne(k.ids[rapid.IntRange(0, len(k.ids)-1).Draw(t, "message")]); err != nil {
		t.Fatal(err)
	}
}

func (k *machine) checkpoint(t *rapid.T) {
	if err := checkpointNow(k.s); err != nil {
		t.Fatal(err)
	}
}

func (k *machine) restart(t *rapid.T) {
	if err := k.s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	k.open(t)
}

func (k *machine) crash(t *rapid.T) {
	mode := rapid.SampledFrom([]faultfs.Unsynced{faultfs.KeepNone, faultfs.KeepAll, faultfs.KeepSome}).Draw(t, "kept")
	after := k.m.CrashClone(mode, rapid.Uint64().Draw(t, "seed"))
	k.m.CutAfter(k.m.Calls())
	_ = k.s.Close(context.Background())
	k.m = after
	k.open(t)
}

func TestAnyOrderOfCallsAndCrashesKeepsThePromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := faultfs.NewMem()
		k := &machine{m: m, cfg: crashConfig(m), p: newPromise()}
		k.open(t)
		steps := rapid.SliceOfN(rapid.IntRange(0, 15), 1, 40).Draw(t, "steps")
		for _, n := range steps {
			switch {
			case n < 6:
				k.commit(t)
			case n < 11:
				k.change(t)
			case n == 11:
				k.copy(t)
			case n == 12:
				k.checkpoint(t)
			case n == 13:
				k.restart(t)
			default:
				k.crash(t)
			}
		}
		if err := k.s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzRecovery(f *testing.F) {
	sa := makeSample(f)
	f.Add(sa.octets[:sa.used], uint16(0), byte(0))
	f.Add(sa.octets[:sa.used], uint16(9000), byte(1))
	f.Add(sa.octets[:firstBatch], uint16(3), byte(1))
	f.Fuzz(func(t *testing.T, segment []byte, at uint16, flip byte) {
		if len(segment) > 1<<18 {
			return
		}
		segment = append([]byte(nil), segment...)
		if int(at) < len(segment) {
			segment[at] ^= flip
		}
		m := faultfs.NewMem()
		dir := onlyDir(t, sa.m, sa.cfg.Dir)
		if err := m.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{sa.cfg.Dir + "/identity": readAll(t, sa.m, sa.cfg.Dir+"/identity"), sa.segment: segment} {
			file, err := m.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteAt(b, 0); err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
		}
		cfg := sa.cfg
		cfg.FS = m
		s, _, err := Open(context.Background(), cfg)
		if err != nil {
			t.Fatalf("arbitrary octets kept the spool from opening: %v", err)
		}
		for id := range live(s) {
			if want, ok := sa.contents[id]; !ok {
				t.Errorf("%v was forged", id)
			} else if b, err := readContent(s, id); err == nil && fmt.Sprint(b) != fmt.Sprint(want) {
				t.Errorf("%v has other content", id)
			}
		}
		led := s.Ledger()
		if l := led.Total(); l.Difference() != 0 {
			t.Errorf("the ledger does not balance: %+v", l)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzBodies(f *testing.F) {
	env := makeEnvelope(envelope.ID{1}, "t1", 2)
	f.Add(appendAccept(nil, env, contentRef{distance: 100}))
	c := finish(env.ID, 1)
	f.Add(appendChange(nil, &c, time.Unix(1, 0)))
	f.Add(appendRefused(nil, &RefusedEvent{Time: time.Unix(1, 0), Tenant: "t"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader{b: b}
		if env, ref, err := r.accept(envelope.ID{1}); err == nil {
			again := reader{b: appendAccept(nil, env, ref)}
			env2, ref2, err := again.accept(envelope.ID{1})
			if err != nil || fmt.Sprint(*env) != fmt.Sprint(*env2) || ref != ref2 {
				t.Errorf("%+v reads back as %+v, %v", env, env2, err)
			}
		}
		r = reader{b: b}
		if c, when, err := r.change(envelope.ID{1}); err == nil {
			again := reader{b: appendChange(nil, &c, when)}
			if c2, when2, err := again.change(envelope.ID{1}); err != nil || c2.To != c.To || !when2.Equal(when) {
				t.Errorf("%+v reads back as %+v, %v", c, c2, err)
			}
		}
		r = reader{b: b}
		_, _ = r.refused()
		r = reader{b: b}
		_, _, _, _ = r.lost()
		r = reader{b: b}
		_ = r.ledger()
	})
}
