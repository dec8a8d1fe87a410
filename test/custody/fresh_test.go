package custody_test

import (
	"testing"

	"github.com/postern-mail/postern/internal/durable/faultfs"
)

func TestAFreshDataDirectorySurvivesAPowerCut(t *testing.T) {
	w := newWorld(t, 3)
	w.open()
	w.must(w.accept())
	disk := w.disk.CrashClone(faultfs.KeepNone, 0)
	w.close()
	w.disk = disk
	w.open()
	w.settle()
	w.close()
}
