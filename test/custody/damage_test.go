package custody_test

import (
	"context"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/auditor"
	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/spool"
)

// flip changes one octet that is not zero in a segment of the main log.
func flip(t *testing.T, disk *faultfs.Mem, rng *rand.Rand) (name string, off int64) {
	t.Helper()
	dirs, err := disk.ReadDir("/data/spool")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		list, err := disk.ReadDir(path.Join("/data/spool", d.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			if strings.HasPrefix(f.Name(), "segment-") {
				files = append(files, path.Join("/data/spool", d.Name(), f.Name()))
			}
		}
	}
	name = files[rng.IntN(len(files))]
	f, err := disk.OpenReadWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	for b := []byte{0}; ; {
		off = rng.Int64N(size)
		if _, err := f.ReadAt(b, off); err != nil {
			t.Fatal(err)
		}
		if b[0] != 0 {
			b[0] ^= 1 << rng.IntN(8)
			if _, err := f.WriteAt(b, off); err != nil {
				t.Fatal(err)
			}
			return name, off
		}
	}
}

func mentions(list []auditor.Message) map[envelope.ID]bool {
	m := map[envelope.ID]bool{}
	for _, v := range list {
		m[v.ID] = true
	}
	return m
}

// costly counts what the auditor found wrong, without damage that costs
// nothing: the spool does not speak of a header whose twin is good.
func costly(r *auditor.Report) int {
	n := int(r.Counts.Lost + r.Counts.Differences)
	for _, d := range r.Damage {
		if !d.Redundant {
			n++
		}
	}
	return n
}

// spoolFindings opens the disk, counts what recovery and the spool's own audit
// find wrong, and says which messages they call lost.
func (w *world) spoolFindings(disk *faultfs.Mem) (n int, lost map[envelope.ID]bool) {
	w.t.Helper()
	o := &world{t: w.t, disk: disk, machine: w.machine}
	rec := o.open()
	defer o.close()
	if rec.Hurt() {
		n++
	}
	rep, err := o.sp.Audit(context.Background())
	w.must(err)
	lost = map[envelope.ID]bool{}
	for _, f := range append(rec.Findings, rep.Findings...) {
		if f.Kind == spool.LostMessage && !f.ID.IsZero() {
			lost[f.ID] = true
		}
	}
	return n + len(rep.Findings) + rep.Known, lost
}
