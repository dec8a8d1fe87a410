package faultfs

import (
	"io"
	"io/fs"
	"math/bits"
	"path"
	"strings"
	"sync"
	"syscall"

	"github.com/postern-mail/postern/internal/durable"
)

// blockSize is what room is counted in, as file systems do.
const blockSize = 4096

// FullFS is a file system with a budget of octets, counted in blocks of 4 KiB
// that are really used: a hole costs nothing, an allocated or written block
// costs once, Discard, Truncate and the removal of a closed file give back.
// What was there before costs nothing, and gives back when it goes.
// Names and directories cost an inode, and no octets.
type FullFS struct {
	under durable.FS

	mu     sync.Mutex
	total  int64 // blocks
	used   int64 // blocks
	inodes int64 // left; <0: not counted
	files  map[string]*usage
}

// usage is one file's blocks. Only the name's owner and open files hold it.
type usage struct {
	blocks []uint64 // a bit a block
	open   int
	gone   bool
}

// Full limits fsys to budget further octets. Every name on fsys must be
// reached through the FullFS from then on.
func Full(fsys durable.FS, budget int64) *FullFS {
	return &FullFS{under: fsys, total: budget / blockSize, inodes: -1, files: map[string]*usage{}}
}

// Left returns the octets that are left of the budget.
func (s *FullFS) Left() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (s.total - s.used) * blockSize
}

// Grow adds octets to the budget; a negative number takes away, and then Left
// may be below zero.
func (s *FullFS) Grow(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total += octets / blockSize
}

// LimitInodes allows n further files and directories; n < 0 means no limit.
func (s *FullFS) LimitInodes(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inodes = n
}

func (s *FullFS) takeInode(op, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inodes == 0 {
		return pathError(op, name, syscall.ENOSPC)
	}
	if s.inodes > 0 {
		s.inodes--
	}
	return nil
}

func (s *FullFS) giveInode() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inodes >= 0 {
		s.inodes++
	}
}

// Open implements durable.FS.
func (s *FullFS) Open(name string) (durable.File, error) {
	f, err := s.under.Open(name)
	return s.wrap(name, f, err)
}

// OpenReadWrite implements durable.FS.
func (s *FullFS) OpenReadWrite(name string) (durable.File, error) {
	f, err := s.under.OpenReadWrite(name)
	return s.wrap(name, f, err)
}

// Create implements durable.FS.
func (s *FullFS) Create(name string) (durable.File, error) {
	if err := s.takeInode("open", name); err != nil {
		return nil, err
	}
	f, err := s.under.Create(name)
	if err != nil {
		s.giveInode()
	}
	return s.wrap(name, f, err)
}

func (s *FullFS) wrap(name string, f durable.File, err error) (durable.File, error) {
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.usageOf(name, size)
	u.open++
	return &fullFile{under: f, fs: s, u: u, name: name}, nil
}

// usageOf finds a name's usage. A file that was there before Full counts as
// wholly allocated, at no cost to the budget.
func (s *FullFS) usageOf(name string, size int64) *usage {
	u := s.files[clean(name)]
	if u == nil {
		u = &usage{}
		n := u.mark(0, size, true)
		s.used += n
		s.total += n
		s.files[clean(name)] = u
	}
	return u
}

// mark sets or clears the blocks [from,to) octets and returns how many changed.
// Clearing takes whole blocks inside the range only.
func (u *usage) mark(from, to int64, on bool) int64 {
	first, last := from/blockSize, (to+blockSize-1)/blockSize
	if !on {
		first, last = (from+blockSize-1)/blockSize, to/blockSize
	}
	var changed int64
	for b := first; b < last; b++ {
		for int(b/64) >= len(u.blocks) {
			if !on {
				return changed
			}
			u.blocks = append(u.blocks, 0)
		}
		bit := uint64(1) << (b % 64)
		if (u.blocks[b/64]&bit != 0) != on {
			u.blocks[b/64] ^= bit
			changed++
		}
	}
	return changed
}

func (u *usage) count() int64 {
	var n int
	for _, w := range u.blocks {
		n += bits.OnesCount64(w)
	}
	return int64(n)
}

// unlink lets a usage go that has lost its name; its blocks come back with the
// last Close.
func (s *FullFS) unlink(name string) {
	u := s.files[clean(name)]
	if u == nil {
		return
	}
	delete(s.files, clean(name))
	u.gone = true
	s.reap(u)
}

func (s *FullFS) reap(u *usage) {
	if u.gone && u.open == 0 {
		s.used -= u.count()
		u.blocks = nil
		if s.inodes >= 0 {
			s.inodes++
		}
	}
}

// adopt makes sure that a file's blocks are known before its name goes.
func (s *FullFS) adopt(name string) {
	fi, err := s.under.Stat(name)
	if err != nil || fi.IsDir() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usageOf(name, fi.Size())
}

// Rename implements durable.FS.
func (s *FullFS) Rename(oldname, newname string) error {
	s.adopt(oldname)
	s.adopt(newname)
	if err := s.under.Rename(oldname, newname); err != nil {
		return err
	}
	from, to := clean(oldname), clean(newname)
	if from == to {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlink(newname)
	moved := map[string]*usage{}
	for name, u := range s.files {
		if name == from || strings.HasPrefix(name, from+"/") {
			moved[path.Join(to, strings.TrimPrefix(name, from))] = u
			delete(s.files, name)
		}
	}
	for name, u := range moved {
		s.files[name] = u
	}
	return nil
}

// Remove implements durable.FS.
func (s *FullFS) Remove(name string) error {
	s.adopt(name)
	fi, serr := s.under.Stat(name)
	if err := s.under.Remove(name); err != nil {
		return err
	}
	if serr == nil && fi.IsDir() {
		s.giveInode()
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlink(name)
	return nil
}

// MkdirAll implements durable.FS. It takes one inode when the last directory
// is missing.
func (s *FullFS) MkdirAll(name string) error {
	if fi, err := s.under.Stat(name); err == nil && fi.IsDir() {
		return s.under.MkdirAll(name)
	}
	if err := s.takeInode("mkdir", name); err != nil {
		return err
	}
	err := s.under.MkdirAll(name)
	if err != nil {
		s.giveInode()
	}
	return err
}

// ReadDir implements durable.FS.
func (s *FullFS) ReadDir(name string) ([]fs.DirEntry, error) { return s.under.ReadDir(name) }

// Stat implements durable.FS.
func (s *FullFS) Stat(name string) (fs.FileInfo, error) { return s.under.Stat(name) }

// SyncDir implements durable.FS.
func (s *FullFS) SyncDir(name string) error { return s.under.SyncDir(name) }

// Space implements durable.FS with the budget.
func (s *FullFS) Space(name string) (durable.Space, error) {
	if _, err := s.under.Space(name); err != nil {
		return durable.Space{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := durable.Space{Total: s.total * blockSize, Free: max(0, s.total-s.used) * blockSize}
	if s.inodes >= 0 {
		sp.Inodes, sp.IFree = s.inodes+int64(len(s.files)), s.inodes
	}
	return sp, nil
}

// Lock implements durable.FS. A lock file that is made takes an inode.
func (s *FullFS) Lock(name string) (io.Closer, error) {
	_, serr := s.under.Stat(name)
	if serr != nil {
		if err := s.takeInode("open", name); err != nil {
			return nil, err
		}
	}
	l, err := s.under.Lock(name)
	if err != nil && serr != nil {
		s.giveInode()
	}
	return l, err
}

type fullFile struct {
	under durable.File
	fs    *FullFS
	u     *usage
	name  string
}

// take charges the blocks of [from,to) and returns how far the budget went.
func (f *fullFile) take(from, to int64) int64 {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	for at := from; at < to; {
		next := min(to, (at/blockSize+1)*blockSize)
		if f.u.mark(at, next, true) == 1 {
			if f.fs.used >= f.fs.total {
				f.u.blocks[at/blockSize/64] &^= 1 << (at / blockSize % 64)
				return at
			}
			f.fs.used++
		}
		at = next
	}
	return to
}

func (f *fullFile) give(from, to int64) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.used -= f.u.mark(from, to, false)
}

// WriteAt writes what there is room for and then says ENOSPC.
func (f *fullFile) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return f.under.WriteAt(b, off)
	}
	fits := f.take(off, off+int64(len(b))) - off
	n, err := f.under.WriteAt(b[:fits], off)
	if err == nil && fits < int64(len(b)) {
		err = pathError("write", f.name, syscall.ENOSPC)
	}
	return n, err
}

// Allocate takes all or nothing.
func (f *fullFile) Allocate(size int64) error {
	old, err := f.under.Size()
	if err != nil {
		return err
	}
	f.fs.mu.Lock()
	need := f.u.clone().mark(0, size, true)
	if size > old && f.fs.used+need > f.fs.total {
		f.fs.mu.Unlock()
		return pathError("fallocate", f.name, syscall.ENOSPC)
	}
	f.fs.used += f.u.mark(0, size, true)
	f.fs.mu.Unlock()
	if err := f.under.Allocate(size); err != nil {
		return err
	}
	f.shrunk(old, size)
	return nil
}

func (u *usage) clone() *usage {
	return &usage{blocks: append([]uint64(nil), u.blocks...)}
}

// shrunk gives back what lay beyond size.
func (f *fullFile) shrunk(old, size int64) {
	if size < old {
		f.give(size, (old+blockSize-1)/blockSize*blockSize)
	}
}

func (f *fullFile) Truncate(size int64) error {
	old, err := f.under.Size()
	if err != nil {
		return err
	}
	if err := f.under.Truncate(size); err != nil {
		return err
	}
	f.shrunk(old, size)
	return nil
}

func (f *fullFile) Discard(off, n int64) error {
	if err := f.under.Discard(off, n); err != nil {
		return err
	}
	size, err := f.under.Size()
	if err == nil && n > 0 {
		f.give(off, min(off+n, size))
	}
	return err
}

func (f *fullFile) Close() error {
	err := f.under.Close()
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.u.open > 0 && err == nil {
		f.u.open--
		f.fs.reap(f.u)
	}
	return err
}

func (f *fullFile) ReadAt(b []byte, off int64) (int, error) { return f.under.ReadAt(b, off) }
func (f *fullFile) Sync() error                             { return f.under.Sync() }
func (f *fullFile) Size() (int64, error)                    { return f.under.Size() }

func (f *fullFile) loseDirty() {
	if l, ok := f.under.(interface{ loseDirty() }); ok {
		l.loseDirty()
	}
}
