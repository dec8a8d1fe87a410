//go:build linux || darwin || freebsd

package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Modes of everything that is made here: mail is nobody else's business.
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// zeroChunk is how many octets are written at once where blocks have to be
// filled by hand. Chosen: large enough that the system calls do not count.
const zeroChunk = 256 << 10

// OS returns the operating system's file system. It has no state, so every
// value is the same. All descriptors are close-on-exec.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Open(name string) (File, error)          { return openOS(name, os.O_RDONLY) }
func (osFS) OpenReadWrite(name string) (File, error) { return openOS(name, os.O_RDWR) }

func (osFS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (osFS) Rename(oldname, newname string) error       { return os.Rename(oldname, newname) }
func (osFS) Remove(name string) error                   { return os.Remove(name) }
func (osFS) MkdirAll(name string) error                 { return os.MkdirAll(name, dirMode) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }
func (osFS) Stat(name string) (fs.FileInfo, error)      { return os.Stat(name) }

// SyncDir returns the error of a file system that cannot sync directories
// (EINVAL) like any other: custody on it would be a guess.
func (osFS) SyncDir(name string) error {
	d, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (osFS) Space(name string) (Space, error) {
	sp, err := statSpace(name)
	if err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	return sp, nil
}

// Lock takes flock(2). It is bound to the open file, so a second Lock in this
// process is refused too, and it goes when the process dies. A name that was
// renamed or removed between open and flock is opened again: a lock on a file
// that nobody can find protects nothing.
func (osFS) Lock(name string) (io.Closer, error) {
	for range 8 {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, fileMode)
		if err != nil {
			return nil, err
		}
		switch err := flock(f); {
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", name, ErrLocked), f.Close())
		case err != nil:
			return nil, errors.Join(&fs.PathError{Op: "flock", Path: name, Err: err}, f.Close())
		}
		if sameFile(f, name) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("lock %s: the name keeps changing: %w", name, ErrLocked)
}

func sameFile(f *os.File, name string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(held, named)
}

func flock(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return control(c, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
}

// osFile keeps the descriptor's syscall.RawConn: it keeps the descriptor alive
// for the length of a call, which (*os.File).Fd does not.
type osFile struct {
	*os.File
	raw syscall.RawConn
}

func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, fileMode)
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &osFile{f, raw}, nil
}

// control runs call on the descriptor, again after an interrupting signal.
func control(raw syscall.RawConn, call func(fd int) error) error {
	var err error
	if cerr := raw.Control(func(fd uintptr) {
		for {
			if err = call(int(fd)); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}); cerr != nil {
		return fs.ErrClosed // the only thing that RawConn says of a file
	}
	return err
}

func (f *osFile) do(op string, call func(fd int) error) error {
	if err := control(f.raw, call); err != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}

// Sync is fdatasync where the system has it.
func (f *osFile) Sync() error { return f.syncData() }

func (f *osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// Allocate uses fallocate and falls back to writing zero octets from the
// present end on. When the room does not suffice, the size is as before.
func (f *osFile) Allocate(size int64) error {
	before, err := f.Size()
	if err != nil {
		return err
	}
	if before > size {
		return f.Truncate(size)
	}
	if size == 0 {
		return nil
	}
	err = f.do("fallocate", func(fd int) error { return fallocate(fd, size) })
	if unsupported(err) {
		err = f.fillZero(before, size-before)
	}
	if err != nil {
		return errors.Join(err, f.Truncate(before))
	}
	return nil
}

// Discard punches a hole, and where that is not supported overwrites with zero
// octets: then the room is not given back, but the mail is gone from the file.
func (f *osFile) Discard(off, n int64) error {
	if n <= 0 {
		return nil
	}
	err := f.do("punch hole", func(fd int) error { return punch(fd, off, n) })
	if !unsupported(err) {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	return f.fillZero(off, min(n, size-off))
}

func (f *osFile) fillZero(off, n int64) error {
	var chunk []byte
	for n > 0 {
		if chunk == nil {
			chunk = make([]byte, min(n, zeroChunk))
		}
		w, err := f.WriteAt(chunk[:min(n, int64(len(chunk)))], off)
		if err != nil {
			return err
		}
		off, n = off+int64(w), n-int64(w)
	}
	return nil
}

func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP)
}
