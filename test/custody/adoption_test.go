package custody_test

import (
	"fmt"
	"testing"

	"github.com/postern-mail/postern/internal/durable/faultfs"
)

// A directory that moved to another machine is adopted; the power goes again
// and again while that happens. Before each start the auditor reads what is
// there, and counts every message once.
func TestAnAdoptionThatIsCutShortLosesAndDoublesNothing(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed+500)
			w.open()
			w.live(60)
			ledger, live := spoolLedger(w.sp.Ledger()), spoolLive(t, w.sp)
			w.close()

			w.machine = "second"
			mode := []faultfs.Unsynced{faultfs.KeepNone, faultfs.KeepAll, faultfs.KeepSome}[seed%3]
			for cut := range uint64(12) {
				w.disk.CutAfter(w.disk.Calls() + int(cut)*3 + w.rng.IntN(3))
				if _, err := w.tryOpen(); err == nil {
					_ = w.sp.Close(t.Context()) // the disk is dead
				}
				w.disk = w.disk.CrashClone(mode, seed*100+cut)
				r := w.audit(w.disk)
				if !r.Sound {
					t.Fatalf("cut %d, mode %d: not sound:\n%s", cut, mode, text(r))
				}
				same(t, "ledger", auditorLedger(r), ledger)
				same(t, "live mail", auditorLive(r), live)
				if t.Failed() {
					t.Fatalf("cut %d, mode %d:\n%s", cut, mode, text(r))
				}
			}
			rec := w.open()
			if rec.Hurt() {
				t.Errorf("recovery is hurt: %+v", rec.Findings)
			}
			same(t, "ledger at last", ledger, spoolLedger(w.sp.Ledger()))
			same(t, "live mail at last", live, spoolLive(t, w.sp))
			w.live(40)
			ledger, live = spoolLedger(w.sp.Ledger()), spoolLive(t, w.sp)
			w.close()
			r := w.audit(w.disk)
			if !r.Sound {
				t.Errorf("after the adoption: not sound:\n%s", text(r))
			}
			same(t, "ledger after", auditorLedger(r), ledger)
			same(t, "live mail after", auditorLive(r), live)
		})
	}
}
