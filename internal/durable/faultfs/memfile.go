package faultfs

import (
	"io/fs"
	"syscall"
)

// memFile is an open file of a Mem.
type memFile struct {
	m      *Mem
	n      *node
	name   string
	write  bool
	closed bool
}

// usable guards a call that reads.
func (f *memFile) usable(op string) error {
	if f.closed {
		return pathError(op, f.name, fs.ErrClosed)
	}
	return pathError(op, f.name, f.m.read())
}

// change counts and guards a call that writes, with its arguments.
func (f *memFile) change(op string, sane bool) error {
	if f.closed {
		return pathError(op, f.name, fs.ErrClosed)
	}
	if err := f.m.mutate(); err != nil {
		return pathError(op, f.name, err)
	}
	if !f.write {
		return pathError(op, f.name, syscall.EBADF)
	}
	if !sane {
		return pathError(op, f.name, syscall.EINVAL)
	}
	return nil
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.usable("read")
	if err == nil && f.n.files != nil {
		err = pathError("read", f.name, syscall.EISDIR)
	}
	if err == nil && off < 0 {
		err = pathError("read", f.name, syscall.EINVAL)
	}
	if err != nil || len(b) == 0 {
		return 0, err
	}
	return f.n.data.readAt(b, off)
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.change("write", off >= 0); err != nil {
		return 0, err
	}
	f.n.data.writeAt(b, off)
	return len(b), nil
}

// Sync works on a file opened for reading too, as fdatasync does.
func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.usable("fdatasync")
	if err == nil {
		err = pathError("fdatasync", f.name, f.m.mutate())
	}
	if err == nil {
		f.n.data.sync()
	}
	return err
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.change("truncate", size >= 0)
	if err == nil {
		f.n.data.truncate(size)
	}
	return err
}

func (f *memFile) Allocate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.change("fallocate", size >= 0)
	if err == nil {
		f.n.data.truncate(size)
	}
	return err
}

func (f *memFile) Discard(off, n int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.change("punch hole", off >= 0)
	if err == nil {
		f.n.data.discard(off, n)
	}
	return err
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.n.data.size, f.usable("stat")
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.usable("close")
	f.closed = true
	return err
}

// loseDirty is what Failing calls when it refuses a Sync.
func (f *memFile) loseDirty() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.data.dropDirty()
}
