package faultfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/durable/faultfs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, f durable.File, text string, off int64) {
	t.Helper()
	_, err := f.WriteAt([]byte(text), off)
	must(t, err)
}

// read returns a file's content, or "-" when it does not exist.
func read(t *testing.T, fsys durable.FS, name string) string {
	t.Helper()
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n != len(b) {
		t.Fatalf("read %s: %v", name, err)
	}
	return string(b)
}

// outcomes collects what a file holds after power cuts with many seeds.
func outcomes(t *testing.T, m *faultfs.Mem, name string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(200) {
		seen[read(t, m.CrashClone(faultfs.KeepSome, seed), name)]++
	}
	return seen
}

func wantOutcomes(t *testing.T, got map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if got[w] == 0 {
			t.Errorf("outcome %.40q was never seen", w)
		}
	}
	for g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("outcome %.40q is not possible on a disk", g)
		}
	}
}

func TestANameIsDurableOnlyAfterSyncDir(t *testing.T) {
	m := faultfs.NewMem()
	f, err := m.Create("/a")
	must(t, err)
	write(t, f, "hello", 0)
	must(t, f.Sync())
	if got := read(t, m.CrashClone(faultfs.KeepNone, 0), "/a"); got != "-" {
		t.Errorf("without SyncDir: %q", got)
	}
	wantOutcomes(t, outcomes(t, m, "/a"), "-", "hello")
	must(t, m.SyncDir("/"))
	wantOutcomes(t, outcomes(t, m, "/a"), "hello")
}

func TestOctetsAreDurableOnlyAfterSync(t *testing.T) {
	m := faultfs.NewMem()
	f, err := m.Create("/a")
	must(t, err)
	must(t, m.SyncDir("/"))
	write(t, f, "hello", 0)
	if got := read(t, m.CrashClone(faultfs.KeepNone, 0), "/a"); got != "" {
		t.Errorf("KeepNone: %q", got)
	}
	if got := read(t, m.CrashClone(faultfs.KeepAll, 0), "/a"); got != "hello" {
		t.Errorf("KeepAll: %q", got)
	}
	wantOutcomes(t, outcomes(t, m, "/a"), "", "hello", "\x00\x00\x00\x00\x00")
	must(t, f.Sync())
	wantOutcomes(t, outcomes(t, m, "/a"), "hello")
	write(t, f, "J", 0)
	write(t, f, "y", 4)
	wantOutcomes(t, outcomes(t, m, "/a"), "hello", "Jello", "Jelly")
}

func TestSectorsTearEachForItself(t *testing.T) {
	m := faultfs.NewMem()
	f, err := m.Create("/a")
	must(t, err)
	must(t, m.SyncDir("/"))
	write(t, f, strings.Repeat("o", 2048), 0)
	must(t, f.Sync())
	write(t, f, strings.Repeat("n", 2048), 0)
	seen := map[string]int{}
	for got := range outcomes(t, m, "/a") {
		var shape []byte
		for s := 0; s < len(got); s += 512 {
			if strings.Trim(got[s:s+512], got[s:s+1]) != "" {
				t.Fatal("a sector is torn in itself")
			}
			shape = append(shape, got[s])
		}
		seen[string(shape)]++
	}
	if len(seen) != 16 {
		t.Errorf("saw %d of the 16 ways to tear four sectors: %v", len(seen), seen)
	}
}

func TestARenameHappensInBothDirectoriesOrInNeither(t *testing.T) {
	m := faultfs.NewMem()
	must(t, m.MkdirAll("/d"))
	must(t, m.MkdirAll("/e"))
	must(t, m.SyncDir("/"))
	f, err := m.Create("/d/a")
	must(t, err)
	write(t, f, "x", 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/d"))
	must(t, m.Rename("/d/a", "/e/b"))
	seen := map[string]bool{}
	for seed := range uint64(200) {
		c := m.CrashClone(faultfs.KeepSome, seed)
		seen[read(t, c, "/d/a")+read(t, c, "/e/b")] = true
	}
	if len(seen) != 2 || !seen["x-"] || !seen["-x"] {
		t.Errorf("saw %v", seen)
	}
	must(t, m.SyncDir("/e"))
	c := m.CrashClone(faultfs.KeepNone, 0)
	if got := read(t, c, "/d/a") + read(t, c, "/e/b"); got != "-x" {
		t.Errorf("after SyncDir of one side: %q", got)
	}
}

func TestChangesOfADirectoryAreKeptInTheirOrder(t *testing.T) {
	m := faultfs.NewMem()
	must(t, m.MkdirAll("/d"))
	must(t, m.SyncDir("/"))
	for _, n := range []string{"/d/1", "/d/2", "/d/3"} {
		f, err := m.Create(n)
		must(t, err)
		must(t, f.Close())
	}
	must(t, m.Remove("/d/1"))
	seen := map[string]int{}
	for seed := range uint64(200) {
		list, err := m.CrashClone(faultfs.KeepSome, seed).ReadDir("/d")
		must(t, err)
		var names []string
		for _, e := range list {
			names = append(names, e.Name())
		}
		seen[strings.Join(names, "")]++
	}
	wantOutcomes(t, seen, "", "1", "12", "123", "23")
}

func TestARemovedFileIsBackWhenItsDirectoryWasNotSynced(t *testing.T) {
	m := faultfs.NewMem()
	f, err := m.Create("/a")
	must(t, err)
	write(t, f, "x", 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	must(t, m.Remove("/a"))
	if got := read(t, m.CrashClone(faultfs.KeepNone, 0), "/a"); got != "x" {
		t.Errorf("KeepNone: %q", got)
	}
	must(t, m.SyncDir("/"))
	if got := read(t, m.CrashClone(faultfs.KeepNone, 0), "/a"); got != "-" {
		t.Errorf("after SyncDir: %q", got)
	}
}

func TestOctetsCutOffDoNotComeBackWithTheSize(t *testing.T) {
	m := faultfs.NewMem()
	f, err := m.Create("/a")
	must(t, err)
	must(t, m.SyncDir("/"))
	write(t, f, "secret", 0)
	must(t, f.Sync())
	must(t, f.Truncate(0))
	must(t, f.Truncate(6))
	wantOutcomes(t, outcomes(t, m, "/a"), "secret", "", "\x00\x00\x00\x00\x00\x00")
}

func TestEveryCallAfterTheCutSaysPowerCut(t *testing.T) {
	m := faultfs.NewMem()
	f, err := m.Create("/a")
	must(t, err)
	m.CutAfter(m.Calls() + 1)
	write(t, f, "x", 0)
	_, ropen := m.Open("/a")
	_, rlist := m.ReadDir("/")
	_, rstat := m.Stat("/a")
	_, rlock := m.Lock("/lock")
	_, rwrite := f.WriteAt([]byte("y"), 0)
	_, rread := f.ReadAt(make([]byte, 1), 0)
	_, rsize := f.Size()
	for i, err := range []error{
		ropen, rlist, rstat, rlock, rwrite, rread, rsize, f.Sync(), f.Truncate(0), f.Allocate(9), f.Discard(0, 1),
		m.SyncDir("/"), m.Rename("/a", "/b"), m.Remove("/a"), m.MkdirAll("/d"), f.Close(),
	} {
		if !errors.Is(err, faultfs.ErrPowerCut) {
			t.Errorf("call %d after the cut: %v", i, err)
		}
	}
	if m.Calls() != 2 {
		t.Errorf("%d calls counted, want 2", m.Calls())
	}
	if got := read(t, m.CrashClone(faultfs.KeepAll, 0), "/a"); got != "x" {
		t.Errorf("the clone holds %q", got)
	}
}

func TestACloneHasNoLocksAndLeavesTheOriginalAlone(t *testing.T) {
	m := faultfs.NewMem()
	l, err := m.Lock("/lock")
	must(t, err)
	f, err := m.Create("/a")
	must(t, err)
	write(t, f, "mine", 0)
	c := m.CrashClone(faultfs.KeepAll, 0)
	cl, err := c.Lock("/lock")
	must(t, err)
	must(t, cl.Close())
	cf, err := c.OpenReadWrite("/a")
	must(t, err)
	write(t, cf, "clone", 0)
	if got := read(t, m, "/a"); got != "mine" {
		t.Errorf("original holds %q", got)
	}
	if _, err := m.Lock("/lock"); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("the original's lock: %v", err)
	}
	must(t, l.Close())
}

func TestTheSameSeedGivesTheSameDisk(t *testing.T) {
	m := faultfs.NewMem()
	for _, n := range []string{"/a", "/b", "/c"} {
		f, err := m.Create(n)
		must(t, err)
		write(t, f, strings.Repeat(n, 5_000), 0)
		must(t, f.Truncate(7_000))
		write(t, f, "again", 6_000)
	}
	for seed := range uint64(20) {
		one, two := m.CrashClone(faultfs.KeepSome, seed), m.CrashClone(faultfs.KeepSome, seed)
		for _, n := range []string{"/a", "/b", "/c"} {
			if read(t, one, n) != read(t, two, n) {
				t.Fatalf("seed %d: %s differs", seed, n)
			}
		}
	}
}

func TestARefusedSyncLosesWhatWaited(t *testing.T) {
	m := faultfs.NewMem()
	fsys := faultfs.Failing(m, func(op faultfs.Op, _ string, n int) error {
		if op == faultfs.Sync && n == 1 {
			return syscall.EIO
		}
		return nil
	})
	f, err := fsys.Create("/a")
	must(t, err)
	must(t, fsys.SyncDir("/"))
	write(t, f, "hello", 0)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("first Sync: %v", err)
	}
	must(t, f.Sync())
	if got := read(t, m, "/a"); got != "hello" {
		t.Errorf("readable before the power cut: %q", got)
	}
	if got := read(t, m.CrashClone(faultfs.KeepNone, 0), "/a"); strings.Contains(got, "hello") {
		t.Errorf("a second Sync saved what the first had lost: %q", got)
	}
}

func TestAShortWriteWritesItsPart(t *testing.T) {
	m := faultfs.NewMem()
	fsys := faultfs.Failing(m, func(op faultfs.Op, _ string, n int) error {
		if op == faultfs.Write {
			return &faultfs.ShortWrite{Octets: 2, Err: syscall.ENOSPC}
		}
		return nil
	})
	f, err := fsys.Create("/a")
	must(t, err)
	n, err := f.WriteAt([]byte("hello"), 0)
	if n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	if got := read(t, m, "/a"); got != "he" {
		t.Errorf("file holds %q", got)
	}
}

func TestEveryCallCanBeMadeToFail(t *testing.T) {
	var deny faultfs.Op
	fsys := faultfs.Failing(faultfs.NewMem(), func(op faultfs.Op, _ string, _ int) error {
		if op == deny {
			return syscall.EIO
		}
		return nil
	})
	deny = -1
	f, err := fsys.Create("/a")
	must(t, err)
	two := func(_ any, err error) error { return err }
	for op, call := range map[faultfs.Op]func() error{
		faultfs.Open:     func() error { return two(fsys.Open("/a")) },
		faultfs.Create:   func() error { return two(fsys.Create("/b")) },
		faultfs.Rename:   func() error { return fsys.Rename("/a", "/c") },
		faultfs.Remove:   func() error { return fsys.Remove("/a") },
		faultfs.MkdirAll: func() error { return fsys.MkdirAll("/d") },
		faultfs.ReadDir:  func() error { return two(fsys.ReadDir("/")) },
		faultfs.SyncDir:  func() error { return fsys.SyncDir("/") },
		faultfs.GetSpace: func() error { return two(fsys.Space("/")) },
		faultfs.Lock:     func() error { return two(fsys.Lock("/l")) },
		faultfs.Read:     func() error { return two(f.ReadAt(make([]byte, 1), 0)) },
		faultfs.Write:    func() error { return two(f.WriteAt([]byte("x"), 0)) },
		faultfs.Sync:     func() error { return f.Sync() },
		faultfs.Truncate: func() error { return f.Truncate(1) },
		faultfs.Allocate: func() error { return f.Allocate(1) },
		faultfs.Discard:  func() error { return f.Discard(0, 1) },
	} {
		deny = op
		if err := call(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: %v", op, err)
		}
	}
}

func TestAFullDiskSaysENOSPCAndRemovalGivesRoomBack(t *testing.T) {
	m := faultfs.NewMem()
	before, err := m.Create("/before")
	must(t, err)
	write(t, before, strings.Repeat("b", 8192), 0)
	must(t, before.Close())
	full := faultfs.Full(m, 5*4096)
	ballast, err := full.Create("/ballast")
	must(t, err)
	must(t, ballast.Allocate(2*4096))
	f, err := full.Create("/a")
	must(t, err)
	n, err := f.WriteAt(bytes.Repeat([]byte("x"), 4*4096), 0)
	if n != 3*4096 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
	if err := f.Allocate(4 * 4096); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Allocate: %v", err)
	}
	write(t, f, "again", 0)
	write(t, ballast, "inside", 4096)
	if sp, err := full.Space("/"); err != nil || sp.Free != 0 || full.Left() != 0 {
		t.Fatalf("space %+v, %v, left %d", sp, err, full.Left())
	}
	must(t, full.Remove("/ballast"))
	if full.Left() != 0 {
		t.Error("room came back while the file was open")
	}
	must(t, ballast.Close())
	if full.Left() != 2*4096 {
		t.Errorf("left after removal: %d", full.Left())
	}
	must(t, f.Discard(0, 4096))
	must(t, f.Truncate(4096))
	if full.Left() != 5*4096 {
		t.Errorf("left after discard and truncate: %d", full.Left())
	}
	must(t, full.Remove("/before"))
	if full.Left() != 7*4096 {
		t.Errorf("left after removing what was there before: %d", full.Left())
	}
	full.Grow(-100 * 4096)
	if _, err := f.WriteAt([]byte("x"), 4096); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("below zero: %v", err)
	}
	full.Grow(100 * 4096)
	write(t, f, "x", 4096)
}

func TestARenamedFileKeepsItsBlocks(t *testing.T) {
	full := faultfs.Full(faultfs.NewMem(), 10*4096)
	must(t, full.MkdirAll("/d"))
	for _, n := range []string{"/d/a", "/d/b"} {
		f, err := full.Create(n)
		must(t, err)
		must(t, f.Allocate(3*4096))
		must(t, f.Close())
	}
	must(t, full.Rename("/d/a", "/d/b"))
	if full.Left() != 7*4096 {
		t.Errorf("left after a replacing rename: %d", full.Left())
	}
	must(t, full.Rename("/d", "/e"))
	must(t, full.Remove("/e/b"))
	if full.Left() != 10*4096 {
		t.Errorf("left after all is gone: %d", full.Left())
	}
}

func TestInodesRunOut(t *testing.T) {
	full := faultfs.Full(faultfs.NewMem(), 1<<20)
	full.LimitInodes(1)
	f, err := full.Create("/a")
	must(t, err)
	must(t, f.Close())
	if _, err := full.Create("/b"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("second file: %v", err)
	}
	must(t, full.Remove("/a"))
	must(t, full.MkdirAll("/d"))
	if _, err := full.Lock("/l"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("lock file: %v", err)
	}
}

func TestACopyOnTheRealFileSystemIsTheSame(t *testing.T) {
	m := faultfs.NewMem()
	must(t, m.MkdirAll("/spool/x"))
	f, err := m.Create("/spool/x/a")
	must(t, err)
	write(t, f, "far", 100_000)
	must(t, f.Truncate(100_002))
	dir := filepath.Join(t.TempDir(), "copy")
	must(t, m.CopyTo(dir))
	b, err := os.ReadFile(filepath.Join(dir, "spool/x/a"))
	must(t, err)
	if want := string(make([]byte, 100_000)) + "fa"; string(b) != want {
		t.Errorf("copy has %d octets, want %d, or differs", len(b), len(want))
	}
}
