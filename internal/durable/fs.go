// Package durable is the only package that touches files for custody: the
// file-system seam (FS, File) and the operating system's implementation with
// its sync rules. Package durable/faultfs holds the file systems that crash,
// fail and fill up, for tests.
//
// Rules that every implementation keeps:
//
//   - What was written is durable only after File.Sync returned nil. A name is
//     durable only after FS.SyncDir of its directory returned nil.
//   - A Sync that failed says nothing about what is on the disk. The caller
//     abandons the file; calling Sync again proves nothing (the kernel may
//     have dropped the dirty pages).
//   - No error is swallowed: Close, Sync, SyncDir, Truncate errors are returned.
//   - errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOSPC),
//     errors.Is(err, syscall.EIO) and errors.Is(err, ErrLocked) work on
//     everything returned here.
package durable

import (
	"errors"
	"io"
	"io/fs"
)

// ErrLocked is returned by FS.Lock when another process, or this one, holds it.
var ErrLocked = errors.New("locked by another holder")

// FS is the seam. Names are slash-separated paths as given to the OS
// implementation: absolute, or relative to the working directory.
// Implementations are safe for concurrent use.
type FS interface {
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	// Create makes a new empty file (mode 0600) for reading and writing, and
	// fails with fs.ErrExist when the name exists. The name is not durable
	// until SyncDir.
	Create(name string) (File, error)
	// OpenReadWrite opens an existing file for reading and writing in place.
	OpenReadWrite(name string) (File, error)
	// Rename replaces newname atomically. It is not durable until SyncDir.
	Rename(oldname, newname string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// MkdirAll makes directories with mode 0700.
	MkdirAll(name string) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat describes a file.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Space says how much room the file system under name has.
	Space(name string) (Space, error)
	// Lock takes an exclusive advisory lock on name, creating the file when
	// needed. It does not wait: ErrLocked. Close gives it back.
	Lock(name string) (io.Closer, error)
}

// File is an open file. ReadAt, WriteAt and Sync are safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the file's data (and the size needed to read it) durable:
	// fdatasync.
	Sync() error
	// Truncate sets the size in octets.
	Truncate(size int64) error
	// Allocate reserves disk blocks for [0,size) and sets the size, so that
	// later writes inside do not fail for lack of room. The first write of a
	// reserved block may still change metadata at the next Sync: who wants
	// short syncs writes zero octets over the whole once (measured on ext4,
	// 16 KiB a sync: 0.12 ms into blocks once written, 0.22 ms into reserved
	// ones). Where the room does not suffice, the size stays as it was.
	Allocate(size int64) error
	// Discard gives the blocks of [off,off+n) back; they read as zero
	// octets afterwards. The size does not change.
	Discard(off, n int64) error
	// Size returns the current size in octets.
	Size() (int64, error)
}

// Space is what a file system has left for us.
type Space struct {
	Total, Free   int64 // octets; Free is what an unprivileged process may use
	Inodes, IFree int64 // 0, 0 where the file system has no inode limit
}
