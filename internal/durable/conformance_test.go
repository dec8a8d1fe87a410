package durable_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/durable/faultfs"
)

// each runs the suite on every implementation of the seam.
func each(t *testing.T, f func(t *testing.T, fsys durable.FS, dir string)) {
	t.Helper()
	mem := func(t *testing.T) *faultfs.Mem {
		m := faultfs.NewMem()
		must(t, m.MkdirAll("/data"))
		return m
	}
	nothing := func(faultfs.Op, string, int) error { return nil }
	t.Run("OS", func(t *testing.T) { f(t, durable.OS(), t.TempDir()) })
	t.Run("Mem", func(t *testing.T) { f(t, mem(t), "/data") })
	t.Run("Failing", func(t *testing.T) { f(t, faultfs.Failing(mem(t), nothing), "/data") })
	t.Run("Full", func(t *testing.T) { f(t, faultfs.Full(mem(t), 1<<30), "/data") })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, fsys durable.FS, name, text string) durable.File {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	_, err = f.WriteAt([]byte(text), 0)
	must(t, err)
	return f
}

func content(t *testing.T, fsys durable.FS, name string) string {
	t.Helper()
	f, err := fsys.Open(name)
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n != len(b) {
		t.Fatalf("read %s: %d octets, %v; want %d", name, n, err, size)
	}
	return string(b)
}

func TestWhatIsWrittenReadsBack(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		name := filepath.Join(dir, "a")
		f := create(t, fsys, name, "hello")
		_, err := f.WriteAt([]byte("far"), 10_000)
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
		must(t, fsys.SyncDir(dir))
		want := "hello" + string(make([]byte, 9_995)) + "far"
		if got := content(t, fsys, name); got != want {
			t.Fatalf("read %d octets, want %d, or they differ", len(got), len(want))
		}
		f, err = fsys.OpenReadWrite(name)
		must(t, err)
		_, err = f.WriteAt([]byte("J"), 0)
		must(t, err)
		must(t, f.Close())
		if got := content(t, fsys, name); got[:5] != "Jello" {
			t.Fatalf("after a write in place: %q", got[:5])
		}
	})
}

func TestReadingPastTheEndSaysEOF(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"), "hello")
		defer f.Close()
		b := make([]byte, 10)
		if n, err := f.ReadAt(b, 2); n != 3 || !errors.Is(err, io.EOF) {
			t.Errorf("ReadAt over the end = %d, %v", n, err)
		}
		if n, err := f.ReadAt(b, 5); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("ReadAt at the end = %d, %v", n, err)
		}
		if n, err := f.ReadAt(b[:5], 0); n != 5 || err != nil {
			t.Errorf("ReadAt of all = %d, %v", n, err)
		}
		if _, err := f.ReadAt(b, -1); err == nil {
			t.Error("ReadAt below 0 gave no error")
		}
	})
}

func TestAFileOpenedForReadingRefusesWrites(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		name := filepath.Join(dir, "a")
		must(t, create(t, fsys, name, "hello").Close())
		f, err := fsys.Open(name)
		must(t, err)
		defer f.Close()
		if _, err := f.WriteAt([]byte("x"), 0); err == nil {
			t.Error("WriteAt gave no error")
		}
		if f.Truncate(0) == nil {
			t.Error("Truncate gave no error")
		}
		if got := content(t, fsys, name); got != "hello" {
			t.Errorf("content is %q", got)
		}
	})
}

func TestErrorsAreTold(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		in := func(s string) string { return filepath.Join(dir, s) }
		must(t, create(t, fsys, in("a"), "x").Close())
		must(t, fsys.MkdirAll(in("d/e")))
		must(t, create(t, fsys, in("d/f"), "x").Close())
		two := func(_ any, err error) error { return err }
		for name, c := range map[string]struct{ got, want error }{
			"open missing":       {two(fsys.Open(in("no"))), fs.ErrNotExist},
			"open below missing": {two(fsys.Open(in("no/no"))), fs.ErrNotExist},
			"open rw missing":    {two(fsys.OpenReadWrite(in("no"))), fs.ErrNotExist},
			"open rw dir":        {two(fsys.OpenReadWrite(in("d"))), nil},
			"open below file":    {two(fsys.Open(in("a/b"))), nil},
			"create existing":    {two(fsys.Create(in("a"))), fs.ErrExist},
			"create in missing":  {two(fsys.Create(in("no/a"))), fs.ErrNotExist},
			"rename missing":     {fsys.Rename(in("no"), in("b")), fs.ErrNotExist},
			"rename onto dir":    {fsys.Rename(in("a"), in("d")), fs.ErrExist},
			"rename dir inside":  {fsys.Rename(in("d"), in("d/e/g")), nil},
			"remove missing":     {fsys.Remove(in("no")), fs.ErrNotExist},
			"remove full dir":    {fsys.Remove(in("d")), nil},
			"stat missing":       {two(fsys.Stat(in("no"))), fs.ErrNotExist},
			"list missing":       {two(fsys.ReadDir(in("no"))), fs.ErrNotExist},
			"list file":          {two(fsys.ReadDir(in("a"))), nil},
			"sync missing":       {fsys.SyncDir(in("no")), fs.ErrNotExist},
			"sync file as dir":   {fsys.SyncDir(in("a")), nil},
			"mkdir over file":    {fsys.MkdirAll(in("a/b")), nil},
			"space of missing":   {two(fsys.Space(in("no"))), fs.ErrNotExist},
			"lock in missing":    {two(fsys.Lock(in("no/lock"))), fs.ErrNotExist},
		} {
			if c.got == nil || c.want != nil && !errors.Is(c.got, c.want) {
				t.Errorf("%s: error is %v, want %v", name, c.got, c.want)
			}
		}
		if got := content(t, fsys, in("d/f")); got != "x" {
			t.Errorf("after the refused calls a file holds %q", got)
		}
	})
}

func TestAClosedFileIsRefused(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"), "x")
		must(t, f.Close())
		if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("ReadAt: %v", err)
		}
		if _, err := f.WriteAt([]byte("y"), 0); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("WriteAt: %v", err)
		}
		if err := f.Sync(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Sync: %v", err)
		}
		if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestSizesAreAsAsked(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"), "hello")
		defer f.Close()
		check := func(what string, err error, want int64) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if got, err := f.Size(); got != want || err != nil {
				t.Fatalf("size after %s = %d, %v; want %d", what, got, err, want)
			}
		}
		check("allocate up", f.Allocate(10_000), 10_000)
		check("allocate the same", f.Allocate(10_000), 10_000)
		check("truncate down", f.Truncate(3), 3)
		check("truncate up", f.Truncate(9_000), 9_000)
		check("discard over the end", f.Discard(8_000, 1<<20), 9_000)
		check("discard beyond the end", f.Discard(1<<20, 1<<20), 9_000)
		check("discard nothing", f.Discard(0, 0), 9_000)
		b := make([]byte, 9_000)
		_, err := f.ReadAt(b, 0)
		must(t, err)
		if want := append([]byte("hel"), make([]byte, 8_997)...); !bytes.Equal(b, want) {
			t.Fatal("octets cut off came back")
		}
		check("allocate down", f.Allocate(2), 2)
		check("truncate to nothing", f.Truncate(0), 0)
		check("allocate nothing", f.Allocate(0), 0)
	})
}

func TestDiscardedOctetsReadAsZeroAndTheirNeighboursStay(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		const size = 64 << 10
		f := create(t, fsys, filepath.Join(dir, "a"), string(bytes.Repeat([]byte{7}, size)))
		defer f.Close()
		must(t, f.Sync())
		must(t, f.Discard(5_000, 30_000))
		b := make([]byte, size)
		_, err := f.ReadAt(b, 0)
		must(t, err)
		for i, c := range b {
			if gone := i >= 5_000 && i < 35_000; gone != (c == 0) {
				t.Fatalf("octet %d is %d", i, c)
			}
		}
	})
}

func TestRenameReplacesAndRemoveRemoves(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		in := func(s string) string { return filepath.Join(dir, s) }
		must(t, create(t, fsys, in("new"), "new").Close())
		old := create(t, fsys, in("old"), "old")
		must(t, fsys.Rename(in("new"), in("old")))
		if got := content(t, fsys, in("old")); got != "new" {
			t.Errorf("after rename: %q", got)
		}
		b := make([]byte, 3)
		if _, err := old.ReadAt(b, 0); err != nil || string(b) != "old" {
			t.Errorf("an open file that lost its name reads %q, %v", b, err)
		}
		must(t, old.Close())
		must(t, fsys.MkdirAll(in("d/e")))
		must(t, create(t, fsys, in("d/e/f"), "deep").Close())
		must(t, fsys.Rename(in("d"), in("aside")))
		if got := content(t, fsys, in("aside/e/f")); got != "deep" {
			t.Errorf("after the rename of a directory: %q", got)
		}
		must(t, fsys.Remove(in("aside/e/f")))
		must(t, fsys.Remove(in("aside/e")))
		must(t, fsys.Remove(in("aside")))
		must(t, fsys.MkdirAll(dir))
		list, err := fsys.ReadDir(dir)
		must(t, err)
		if len(list) != 1 || list[0].Name() != "old" || list[0].IsDir() {
			t.Errorf("directory holds %v", list)
		}
		fi, err := fsys.Stat(in("old"))
		must(t, err)
		if fi.Size() != 3 || fi.IsDir() || fi.Mode().Perm() != 0o600 || fi.Name() != "old" {
			t.Errorf("stat says %v %d %v %v", fi.Name(), fi.Size(), fi.IsDir(), fi.Mode())
		}
	})
}

func TestADirectoryIsListedByName(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		for _, n := range []string{"c", "a", "b"} {
			must(t, create(t, fsys, filepath.Join(dir, n), n).Close())
		}
		list, err := fsys.ReadDir(dir)
		must(t, err)
		if got := fmt.Sprint(list[0].Name(), list[1].Name(), list[2].Name()); got != fmt.Sprint("a", "b", "c") {
			t.Errorf("listed %v", got)
		}
	})
}

func TestALockHasOneHolder(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		name := filepath.Join(dir, "lock")
		l, err := fsys.Lock(name)
		must(t, err)
		if _, err := fsys.Lock(name); !errors.Is(err, durable.ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		must(t, l.Close())
		l, err = fsys.Lock(name)
		must(t, err)
		must(t, l.Close())
		if l.Close() == nil {
			t.Error("second Close gave no error")
		}
	})
}

func TestSpaceIsPlausible(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		sp, err := fsys.Space(dir)
		must(t, err)
		if sp.Total <= 0 || sp.Free < 0 || sp.Free > sp.Total || sp.IFree > sp.Inodes {
			t.Errorf("space is %+v", sp)
		}
	})
}

func TestWritersOfDifferentPlacesDoNotDisturbEachOther(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"), "")
		defer f.Close()
		must(t, f.Allocate(8*5_000))
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				_, err := f.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, 5_000), int64(i)*5_000)
				if err = errors.Join(err, f.Sync()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		b := make([]byte, 8*5_000)
		_, err := f.ReadAt(b, 0)
		must(t, err)
		for i, c := range b {
			if int(c) != i/5_000+1 {
				t.Fatalf("octet %d is %d", i, c)
			}
		}
	})
}

// The oracle of Mem's page arithmetic is a plain slice.
func TestRandomCallsMatchAPlainSlice(t *testing.T) {
	each(t, func(t *testing.T, fsys durable.FS, dir string) {
		rng := rand.New(rand.NewPCG(1, 2))
		f := create(t, fsys, filepath.Join(dir, "a"), "")
		defer f.Close()
		var want []byte
		resize := func(n int) {
			for len(want) < n {
				want = append(want, 0)
			}
			want = want[:n]
		}
		for range 400 {
			off, n := rng.IntN(20_000), rng.IntN(9_000)
			switch rng.IntN(6) {
			case 0:
				must(t, f.Truncate(int64(off)))
				resize(off)
			case 1:
				must(t, f.Discard(int64(off), int64(n)))
				if off < len(want) {
					clear(want[off:min(len(want), off+n)])
				}
			case 2:
				must(t, f.Sync())
			default:
				b := bytes.Repeat([]byte{byte(rng.IntN(255) + 1)}, n)
				_, err := f.WriteAt(b, int64(off))
				must(t, err)
				if n > 0 {
					resize(max(len(want), off+n))
					copy(want[off:], b)
				}
			}
			got := make([]byte, len(want))
			if n, err := f.ReadAt(got, 0); n != len(want) && err != nil || !bytes.Equal(got, want) {
				t.Fatalf("file differs from what was written (%d octets, %v)", n, err)
			}
		}
	})
}

func TestFilesAndDirectoriesAreForTheirOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	fsys := durable.OS()
	must(t, fsys.MkdirAll(filepath.Join(dir, "d")))
	must(t, create(t, fsys, filepath.Join(dir, "d/f"), "x").Close())
	for name, want := range map[string]fs.FileMode{"d": 0o700, "d/f": 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if fi.Mode().Perm() != want {
			t.Errorf("%s has mode %v", name, fi.Mode())
		}
	}
}
