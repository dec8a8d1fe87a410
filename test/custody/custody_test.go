package custody_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAfterAnOrderlyEndBothGiveTheSameLedgerAndNameTheSameMail(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range 4 {
				w.open()
				w.live(60)
				ledger, live := spoolLedger(w.sp.Ledger()), spoolLive(t, w.sp)
				w.close()
				r := w.audit(w.disk)
				if !r.Sound {
					t.Fatalf("not sound:\n%s", text(r))
				}
				same(t, "ledger", auditorLedger(r), ledger)
				same(t, "live mail", auditorLive(r), live)
				n := 0
				for _, m := range w.mail {
					if m.live() {
						n++
					}
				}
				if int(r.Counts.Live) != n {
					t.Fatalf("the auditor names %d live messages, the test knows of %d", r.Counts.Live, n)
				}
			}
		})
	}
}

func TestAfterAPowerCutBothAgreeAndNothingAcknowledgedIsMissing(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed)
			mode := []faultfs.Unsynced{faultfs.KeepNone, faultfs.KeepAll, faultfs.KeepSome}[seed%3]
			for life := range uint64(4) {
				w.open()
				w.live(40)
				disk := w.disk.CrashClone(mode, seed*100+life)
				w.close() // on the disk that nobody sees again
				r := w.audit(disk)
				if !r.Sound {
					t.Fatalf("life %d: not sound:\n%s", life, text(r))
				}
				w.disk = disk
				rec := w.open()
				if rec.Hurt() {
					t.Fatalf("life %d: recovery is hurt: %+v", life, rec.Findings)
				}
				same(t, "ledger", auditorLedger(r), spoolLedger(w.sp.Ledger()))
				same(t, "live mail", auditorLive(r), spoolLive(t, w.sp))
				w.settle()
				w.close()
				if t.Failed() {
					t.Fatalf("life %d, mode %d", life, mode)
				}
			}
		})
	}
}

// The power goes in the middle of a call of the file system; what the spool
// says after that is not listened to.
func TestAfterAPowerCutInTheMiddleOfACallBothAgree(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed+1000)
			mode := []faultfs.Unsynced{faultfs.KeepNone, faultfs.KeepAll, faultfs.KeepSome, faultfs.KeepSome}[seed%4]
			for life := range uint64(4) {
				w.open()
				w.disk.CutAfter(w.disk.Calls() + w.rng.IntN(300))
				for range 300 {
					if w.step() != nil {
						break
					}
				}
				_ = w.sp.Close(t.Context()) // the disk is dead
				disk := w.disk.CrashClone(mode, seed*100+life)
				r := w.audit(disk)
				if !r.Sound {
					t.Fatalf("life %d, mode %d: not sound:\n%s", life, mode, text(r))
				}
				w.disk = disk
				rec := w.open()
				if rec.Hurt() {
					t.Fatalf("life %d, mode %d: recovery is hurt: %+v", life, mode, rec.Findings)
				}
				same(t, "ledger", auditorLedger(r), spoolLedger(w.sp.Ledger()))
				same(t, "live mail", auditorLive(r), spoolLive(t, w.sp))
				w.settle()
				w.close()
				if t.Failed() {
					t.Fatalf("life %d, mode %d", life, mode)
				}
			}
		})
	}
}

// settle compares what was acknowledged with what recovery found, and takes
// over the states that the power cut left.
func (w *world) settle() {
	w.t.Helper()
	for id, m := range w.mail {
		_, list, err := w.sp.Envelope(id)
		if err != nil {
			if m.live() {
				w.t.Errorf("%s was acknowledged, is not ended, and is gone: %v", id, err)
			}
			delete(w.mail, id)
			continue
		}
		for i, st := range list {
			if !m.seen[i][st.State] {
				w.t.Errorf("%s recipient %d is in state %d, in which it never was", id, i, st.State)
			}
			m.now[i] = st.State
		}
	}
}

// Any octet of the main log flipped: the auditor still names all mail that was
// live, as live or as lost, and says that something is wrong when the spool's
// own audit says so.
func TestAfterAFlippedOctetNoMailGoesUnnamed(t *testing.T) {
	w := newWorld(t, 99)
	w.open()
	w.live(150)
	w.close()
	rng := rand.New(rand.NewPCG(5, 5))
	for range 60 {
		disk := w.disk.CrashClone(faultfs.KeepAll, 0)
		name, off := flip(t, disk, rng)
		r := w.audit(disk)
		w.named(r.Sound, mentions(r.Live), mentions(r.Lost), fmt.Sprintf("%s at %d\n%s", name, off, text(r)))

		own, lost := w.spoolFindings(disk)
		if got := mentions(r.Lost); !maps.Equal(got, lost) {
			t.Errorf("%s at %d flipped: lost are %v by the auditor and %v by the spool", name, off, got, lost)
		}
		if hard := costly(r); (own > 0) != (hard > 0) || hard > 0 && r.Sound {
			t.Errorf("%s at %d flipped: the spool's audit finds %d things, and the auditor %d:\n%s", name, off, own, hard, text(r))
		}
	}
}

func TestAfterADeletedSegmentAllItsMailIsNamedAsLost(t *testing.T) {
	w := newWorld(t, 7)
	w.open()
	w.live(200)
	w.close()
	base := filepath.Join(t.TempDir(), "all")
	w.must(w.disk.CopyTo(base))
	before := audit(t, filepath.Join(base, "data"))
	segments, err := filepath.Glob(filepath.Join(base, "data/spool/*/segment-*"))
	w.must(err)
	if len(segments) < 2 {
		t.Fatalf("%d segments: too few for this test", len(segments))
	}
	for _, s := range segments {
		t.Run(filepath.Base(s), func(t *testing.T) {
			w.must(os.Rename(s, s+".away"))
			defer func() { w.must(os.Rename(s+".away", s)) }()
			r := audit(t, filepath.Join(base, "data"))
			want := 0
			for _, m := range before.Live {
				if strings.Contains(m.Where, filepath.Base(s)) {
					want++
				}
			}
			if int(r.Counts.Lost) != want || r.Counts.Live+r.Counts.Lost != before.Counts.Live {
				t.Errorf("%d lost and %d live; want %d lost of %d\n%s", r.Counts.Lost, r.Counts.Live, want, before.Counts.Live, text(r))
			}
			for _, l := range r.Lost {
				if len(l.Recipients) == 0 || l.Tenant == "" || !strings.Contains(l.Recipients[0].Path, "user") || l.Reverse == "" {
					t.Errorf("lost mail is not fully named: %+v", l)
				}
			}
			if want > 0 && r.Sound {
				t.Error("sound")
			}
		})
	}
}

// named checks that each live message of the test is live or lost by a report.
func (w *world) named(sound bool, live, lost map[envelope.ID]bool, where string) {
	w.t.Helper()
	for id, m := range w.mail {
		if m.live() && !live[id] && !lost[id] {
			w.t.Errorf("live message %s is named neither live nor lost: %s", id, where)
		}
		if m.live() && !live[id] && sound {
			w.t.Errorf("message %s is gone and the report is sound: %s", id, where)
		}
	}
}
