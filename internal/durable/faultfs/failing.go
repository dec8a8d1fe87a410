package faultfs

import (
	"errors"
	"io"
	"io/fs"
	"sync"

	"github.com/postern-mail/postern/internal/durable"
)

// Op names a call of durable.FS or durable.File.
type Op int

// The calls that Failing asks about. Close, Size and Stat are never refused.
const (
	Open Op = iota // Open and OpenReadWrite
	Create
	Rename
	Remove
	MkdirAll
	ReadDir
	SyncDir
	GetSpace
	Lock
	Read
	Write
	Sync
	Truncate
	Allocate
	Discard
	numOps
)

// String returns the call's name.
func (op Op) String() string {
	names := [numOps]string{
		"open", "create", "rename", "remove", "mkdirall", "readdir", "syncdir", "space", "lock",
		"read", "write", "sync", "truncate", "allocate", "discard",
	}
	if op < 0 || op >= numOps {
		return "unknown"
	}
	return names[op]
}

// ShortWrite is an error that lets the first Octets of a write happen before
// Err is returned, as a disk does that fills up in the middle.
type ShortWrite struct {
	Octets int
	Err    error
}

// Error implements error with Err's words.
func (s *ShortWrite) Error() string { return s.Err.Error() }

// Unwrap returns Err.
func (s *ShortWrite) Unwrap() error { return s.Err }

// Failing asks f before each call; when f returns an error, the call is not
// made and returns that error in an *fs.PathError. name is the file's name as
// it was opened; n counts the calls of that op through this FS, from 1.
// For Write the error may be a *ShortWrite. A refused Sync of a Mem's file
// loses what was waiting (see the package comment). f must be safe for
// concurrent use.
func Failing(fsys durable.FS, f func(op Op, name string, n int) error) durable.FS {
	return &failingFS{under: fsys, ask: f}
}

type failingFS struct {
	under durable.FS
	ask   func(op Op, name string, n int) error
	mu    sync.Mutex
	count [numOps]int
}

func (s *failingFS) fail(op Op, name string) error {
	s.mu.Lock()
	s.count[op]++
	n := s.count[op]
	s.mu.Unlock()
	return pathError(op.String(), name, s.ask(op, name, n))
}

func (s *failingFS) file(op Op, name string, open func(string) (durable.File, error)) (durable.File, error) {
	if err := s.fail(op, name); err != nil {
		return nil, err
	}
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return &failingFile{under: f, fs: s, name: name}, nil
}

func (s *failingFS) Open(name string) (durable.File, error) { return s.file(Open, name, s.under.Open) }

func (s *failingFS) OpenReadWrite(name string) (durable.File, error) {
	return s.file(Open, name, s.under.OpenReadWrite)
}

func (s *failingFS) Create(name string) (durable.File, error) {
	return s.file(Create, name, s.under.Create)
}

func (s *failingFS) Rename(oldname, newname string) error {
	if err := s.fail(Rename, oldname); err != nil {
		return err
	}
	return s.under.Rename(oldname, newname)
}

func (s *failingFS) Remove(name string) error {
	if err := s.fail(Remove, name); err != nil {
		return err
	}
	return s.under.Remove(name)
}

func (s *failingFS) MkdirAll(name string) error {
	if err := s.fail(MkdirAll, name); err != nil {
		return err
	}
	return s.under.MkdirAll(name)
}

func (s *failingFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := s.fail(ReadDir, name); err != nil {
		return nil, err
	}
	return s.under.ReadDir(name)
}

func (s *failingFS) Stat(name string) (fs.FileInfo, error) { return s.under.Stat(name) }

func (s *failingFS) SyncDir(name string) error {
	if err := s.fail(SyncDir, name); err != nil {
		return err
	}
	return s.under.SyncDir(name)
}

func (s *failingFS) Space(name string) (durable.Space, error) {
	if err := s.fail(GetSpace, name); err != nil {
		return durable.Space{}, err
	}
	return s.under.Space(name)
}

func (s *failingFS) Lock(name string) (io.Closer, error) {
	if err := s.fail(Lock, name); err != nil {
		return nil, err
	}
	return s.under.Lock(name)
}

type failingFile struct {
	under durable.File
	fs    *failingFS
	name  string
}

func (f *failingFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.fs.fail(Read, f.name); err != nil {
		return 0, err
	}
	return f.under.ReadAt(b, off)
}

func (f *failingFile) WriteAt(b []byte, off int64) (int, error) {
	err := f.fs.fail(Write, f.name)
	var short *ShortWrite
	switch {
	case errors.As(err, &short):
		n, werr := f.under.WriteAt(b[:max(0, min(short.Octets, len(b)))], off)
		return n, errors.Join(err, werr)
	case err != nil:
		return 0, err
	}
	return f.under.WriteAt(b, off)
}

func (f *failingFile) Sync() error {
	if err := f.fs.fail(Sync, f.name); err != nil {
		if l, ok := f.under.(interface{ loseDirty() }); ok {
			l.loseDirty()
		}
		return err
	}
	return f.under.Sync()
}

// loseDirty hands the loss down when Failing wraps Failing.
func (f *failingFile) loseDirty() {
	if l, ok := f.under.(interface{ loseDirty() }); ok {
		l.loseDirty()
	}
}

func (f *failingFile) Truncate(size int64) error {
	if err := f.fs.fail(Truncate, f.name); err != nil {
		return err
	}
	return f.under.Truncate(size)
}

func (f *failingFile) Allocate(size int64) error {
	if err := f.fs.fail(Allocate, f.name); err != nil {
		return err
	}
	return f.under.Allocate(size)
}

func (f *failingFile) Discard(off, n int64) error {
	if err := f.fs.fail(Discard, f.name); err != nil {
		return err
	}
	return f.under.Discard(off, n)
}

func (f *failingFile) Size() (int64, error) { return f.under.Size() }
func (f *failingFile) Close() error         { return f.under.Close() }
