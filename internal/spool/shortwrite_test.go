package spool

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/postern-mail/postern/internal/durable/faultfs"
)

// The batch of a failed write may lie on the disk in part, header included.
// Its number must not be used again: the segment that follows would look as if
// it repeated a damaged batch.
func TestAPartOfABatchThatCouldNotBeWrittenIsNotDamage(t *testing.T) {
	var armed atomic.Bool
	mem := faultfs.NewMem()
	fsys := faultfs.Failing(mem, func(op faultfs.Op, name string, _ int) error {
		// A file keeps the name under which it was made: the head was a spare.
		if op == faultfs.Write && strings.HasSuffix(name, "spare-00000001") && armed.CompareAndSwap(true, false) {
			return &faultfs.ShortWrite{Octets: block, Err: syscall.ENOSPC}
		}
		return nil
	})
	s, _ := mustOpen(t, testConfig(fsys, "spool"))
	before := mustCommit(t, s, makeContent(3*block, 1), 1)
	armed.Store(true)
	if _, err := commitOne(s, makeContent(3*block, 2), "t1", 1); err == nil {
		t.Fatal("a commit whose write was cut short must not be acknowledged")
	}
	mustApply(t, s, finish(before.ID, 0))
	after := mustCommit(t, s, makeContent(3*block, 3), 1)
	rep, err := s.Audit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Findings) > 0 {
		t.Errorf("audit finds %+v", rep.Findings)
	}
	mustClose(t, s)
	s, rec := mustOpen(t, testConfig(mem, "spool"))
	defer mustClose(t, s)
	for _, f := range rec.Findings {
		if f.Kind != Torn {
			t.Errorf("recovery finds %+v", f)
		}
	}
	wantContent(t, s, after.ID, makeContent(3*block, 3))
	if _, _, err := s.Envelope(before.ID); err == nil {
		t.Error("a message that was delivered lives again")
	}
}
