package spool

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
)

func TestWhatWasCommittedIsThereAfterOpen(t *testing.T) {
	for _, fsys := range []struct {
		name string
		fs   durable.FS
		dir  string
	}{{"memory", faultfs.NewMem(), "/data/spool"}, {"disk", durable.OS(), t.TempDir() + "/spool"}} {
		t.Run(fsys.name, func(t *testing.T) {
			cfg := testConfig(fsys.fs, fsys.dir)
			s, rec := mustOpen(t, cfg)
			if !rec.New || rec.Hurt() {
				t.Fatalf("first Open: new %v, findings %v", rec.New, rec.Findings)
			}
			sizes := []int{0, 1, 5000, 16 << 10, 16<<10 + 1, 300_000}
			contents := map[envelope.ID][]byte{}
			envs := map[envelope.ID]*envelope.Envelope{}
			for i, n := range sizes {
				c := makeContent(n, byte(i))
				env := mustCommit(t, s, c, 1+i)
				contents[env.ID], envs[env.ID] = c, env
			}
			check := func(s *Spool) {
				t.Helper()
				if got := len(live(s)); got != len(sizes) {
					t.Fatalf("%d live messages, want %d", got, len(sizes))
				}
				for id, c := range contents {
					wantContent(t, s, id, c)
					env, statuses, err := s.Envelope(id)
					if err != nil {
						t.Fatal(err)
					}
					if d := cmp.Diff(envs[id], env, cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
						t.Errorf("envelope differs (-committed +read):\n%s", d)
					}
					for _, st := range statuses {
						if st.State != envelope.Queued || st.Attempts != 0 {
							t.Errorf("status %+v, want queued and never tried", st)
						}
					}
				}
			}
			check(s)
			mustClose(t, s)
			for range 3 {
				s, rec = mustOpen(t, cfg)
				if rec.New || len(rec.Findings) > 0 || rec.Checkpoint == 0 {
					t.Fatalf("Open again: new %v, checkpoint %d, findings %v", rec.New, rec.Checkpoint, rec.Findings)
				}
				check(s)
				mustClose(t, s)
			}
		})
	}
}

func TestAMessageEndsWithItsLastRecipient(t *testing.T) {
	cfg := testConfig(faultfs.NewMem(), "/data/spool")
	s, _ := mustOpen(t, cfg)
	env := mustCommit(t, s, makeContent(20_000, 1), 2)
	next := time.Unix(1_700_001_000, 0).UTC()
	mustApply(t, s, finish(env.ID, 0), deferred(env.ID, 1, next))
	_, st, err := s.Envelope(env.ID)
	if err != nil {
		t.Fatal(err)
	}
	if st[0].State != envelope.Delivered || st[1].State != envelope.Queued || st[1].Attempts != 1 || !st[1].NextAttempt.Equal(next) {
		t.Fatalf("statuses %+v", st)
	}
	mustApply(t, s, finish(env.ID, 1))
	if _, _, err := s.Envelope(env.ID); !errors.Is(err, ErrGone) {
		t.Fatalf("Envelope after the end: %v, want ErrGone", err)
	}
	if err := s.Apply(context.Background(), []envelope.Change{finish(env.ID, 1)}); !errors.Is(err, ErrGone) {
		t.Fatalf("Apply after the end: %v, want ErrGone", err)
	}
	led := s.Ledger()
	l := led.Total()
	if l.Difference() != 0 || l.Terminal[envelope.Delivered] != 2 || l.Sources[envelope.Inbound] != 2 || l.Live != 0 {
		t.Fatalf("ledger %+v", l)
	}
	mustClose(t, s)
	s, rec := mustOpen(t, cfg)
	if len(rec.Findings) > 0 || rec.Live != 0 {
		t.Fatalf("after the end: live %d, findings %v", rec.Live, rec.Findings)
	}
	led = s.Ledger()
	if d := cmp.Diff(l, led.Total()); d != "" {
		t.Fatalf("ledger differs after Open:\n%s", d)
	}
	mustClose(t, s)
}
