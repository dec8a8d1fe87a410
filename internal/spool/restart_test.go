package spool

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/durable/faultfs"
)

func TestANodeThatIsKilledAgainAndAgainKeepsFewSegments(t *testing.T) {
	mem := faultfs.NewMem()
	for range 12 {
		s, rec := mustOpen(t, testConfig(mem, "spool"))
		env := mustCommit(t, s, makeContent(1000, 1), 1)
		mustApply(t, s, finish(env.ID, 0))
		deadline := time.Now().Add(10 * time.Second)
		for rec.Batches > 0 && s.segmentCount() > keptCheckpoints && s.stats.checkpoints.Load() == 0 {
			if time.Now().After(deadline) {
				t.Fatal("no checkpoint was made after a start that read several segments")
			}
			runtime.Gosched()
		}
		killed := mem.CrashClone(faultfs.KeepAll, 1)
		mustClose(t, s)
		mem = killed
	}
	entries, err := mem.ReadDir("spool")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		files, err := mem.ReadDir("spool/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasPrefix(f.Name(), "segment-") {
				n++
			}
		}
	}
	if n == 0 || n > keptCheckpoints+4 {
		t.Errorf("%d segments after 12 kills", n)
	}
}
