package faultfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postern-mail/postern/internal/durable"
)

// ErrPowerCut is returned by every call after the point set by CutAfter.
var ErrPowerCut = errors.New("power cut")

// memSpace is what Mem says of its room: it never fills. Chosen: 1 TiB.
const memSpace = 1 << 40

// Mem is a disk in memory, with one machine on it, that knows what is synced.
// Names are cleaned and taken from "/"; "." and "/" exist from the start.
// One mutex guards everything: a Mem is for tests, and order matters there.
type Mem struct {
	mu      sync.Mutex
	root    *node
	journal []nameOp // changes of names that no SyncDir has covered, oldest first
	locks   map[*node]bool
	calls   int
	cut     int // calls allowed; <0: all
	serial  int
}

// NewMem makes an empty disk.
func NewMem() *Mem {
	m := &Mem{locks: map[*node]bool{}, cut: -1}
	m.root = m.newDir()
	return m
}

// CutAfter cuts the power when n mutating calls have been made, counted from
// when the Mem was made: every further call of any sort returns ErrPowerCut.
// n < 0 means never.
func (m *Mem) CutAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = n
}

// Calls returns how many mutating calls were made so far: Create, Rename,
// Remove, SyncDir, a MkdirAll that makes, a Lock that makes its file, and
// WriteAt, Sync, Truncate, Allocate, Discard on files, failed ones included.
func (m *Mem) Calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}

// node is a file (files is nil) or a directory.
type node struct {
	serial  int
	data    data
	files   map[string]*node // a directory as processes see it
	durable map[string]*node // a directory as the disk has it
}

func (m *Mem) newFile() *node {
	m.serial++
	return &node{serial: m.serial, data: newData()}
}

func (m *Mem) newDir() *node {
	m.serial++
	return &node{serial: m.serial, files: map[string]*node{}, durable: map[string]*node{}}
}

// nameOp is one change of names. set is what each (dir, name) holds afterwards
// (nil: no such name).
type nameOp struct {
	set []entry
}

type entry struct {
	dir  *node
	name string
	to   *node
}

// record applies a change of names and remembers it until it is durable.
func (m *Mem) record(set ...entry) {
	for _, e := range set {
		put(e.dir.files, e)
	}
	m.journal = append(m.journal, nameOp{set})
}

func put(names map[string]*node, e entry) {
	if e.to == nil {
		delete(names, e.name)
		return
	}
	names[e.name] = e.to
}

// read and mutate guard every call; mutate counts it.
func (m *Mem) read() error {
	if m.cut >= 0 && m.calls >= m.cut {
		return ErrPowerCut
	}
	return nil
}

func (m *Mem) mutate() error {
	if err := m.read(); err != nil {
		return err
	}
	m.calls++
	return nil
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func clean(name string) string { return path.Clean("/" + name) }

// find walks to name. It returns ENOTDIR as the OS does when a file stands in
// the way.
func (m *Mem) find(name string) (*node, error) {
	n := m.root
	for part := range strings.SplitSeq(strings.TrimPrefix(clean(name), "/"), "/") {
		if part == "" {
			continue
		}
		if n.files == nil {
			return nil, syscall.ENOTDIR
		}
		next := n.files[part]
		if next == nil {
			return nil, fs.ErrNotExist
		}
		n = next
	}
	return n, nil
}

// parent finds the directory that name lies in, and its last element.
func (m *Mem) parent(name string) (*node, string, error) {
	dir, base := path.Split(clean(name))
	if base == "" {
		return nil, "", syscall.EBUSY
	}
	d, err := m.find(dir)
	if err == nil && d.files == nil {
		err = syscall.ENOTDIR
	}
	return d, base, err
}

// Open implements durable.FS.
func (m *Mem) Open(name string) (durable.File, error) { return m.open(name, false) }

// OpenReadWrite implements durable.FS.
func (m *Mem) OpenReadWrite(name string) (durable.File, error) { return m.open(name, true) }

func (m *Mem) open(name string, write bool) (durable.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.read(); err != nil {
		return nil, pathError("open", name, err)
	}
	n, err := m.find(name)
	if err == nil && n.files != nil && write {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &memFile{m: m, n: n, name: name, write: write}, nil
}

// Create implements durable.FS.
func (m *Mem) Create(name string) (durable.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mutate(); err != nil {
		return nil, pathError("open", name, err)
	}
	n, err := m.create(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &memFile{m: m, n: n, name: name, write: true}, nil
}

func (m *Mem) create(name string) (*node, error) {
	d, base, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	if d.files[base] != nil {
		return nil, fs.ErrExist
	}
	n := m.newFile()
	m.record(entry{d, base, n})
	return n, nil
}

// Rename implements durable.FS.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.mutate()
	if err == nil {
		err = m.rename(oldname, newname)
	}
	if err != nil {
		return fmt.Errorf("rename %s %s: %w", oldname, newname, err)
	}
	return nil
}

func (m *Mem) rename(oldname, newname string) error {
	od, ob, err := m.parent(oldname)
	if err != nil {
		return err
	}
	nd, nb, err := m.parent(newname)
	if err != nil {
		return err
	}
	moved, there := od.files[ob], nd.files[nb]
	switch {
	case moved == nil:
		return fs.ErrNotExist
	case there == moved:
		return nil
	case there != nil && (there.files != nil || moved.files != nil):
		return fs.ErrExist
	case moved.files != nil && strings.HasPrefix(clean(newname)+"/", clean(oldname)+"/"):
		return syscall.EINVAL
	}
	m.record(entry{od, ob, nil}, entry{nd, nb, moved})
	return nil
}

// Remove implements durable.FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mutate(); err != nil {
		return pathError("remove", name, err)
	}
	d, base, err := m.parent(name)
	if err == nil && d.files[base] == nil {
		err = fs.ErrNotExist
	}
	if err == nil && len(d.files[base].files) > 0 {
		err = syscall.ENOTEMPTY
	}
	if err == nil {
		m.record(entry{d, base, nil})
	}
	return pathError("remove", name, err)
}

// MkdirAll implements durable.FS. It counts as one call when it makes anything.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.read(); err != nil {
		return pathError("mkdir", name, err)
	}
	n, counted := m.root, false
	for part := range strings.SplitSeq(strings.TrimPrefix(clean(name), "/"), "/") {
		if part == "" {
			continue
		}
		if n.files == nil {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		if n.files[part] == nil {
			if !counted {
				m.calls++
				counted = true
			}
			m.record(entry{n, part, m.newDir()})
		}
		n = n.files[part]
	}
	if n.files == nil {
		return pathError("mkdir", name, syscall.ENOTDIR)
	}
	return nil
}

// ReadDir implements durable.FS.
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.read()
	var n *node
	if err == nil {
		n, err = m.find(name)
	}
	if err == nil && n.files == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	list := make([]fs.DirEntry, 0, len(n.files))
	for _, base := range slices.Sorted(maps.Keys(n.files)) {
		list = append(list, fs.FileInfoToDirEntry(describe(base, n.files[base])))
	}
	return list, nil
}

// Stat implements durable.FS. The modification time is always zero.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.read(); err != nil {
		return nil, pathError("stat", name, err)
	}
	n, err := m.find(name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return describe(path.Base(clean(name)), n), nil
}

// SyncDir implements durable.FS: every change that touches the directory is
// durable, a rename from or to it on its other side as well.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mutate(); err != nil {
		return pathError("sync", name, err)
	}
	d, err := m.find(name)
	if err == nil && d.files == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return pathError("sync", name, err)
	}
	m.journal = settle(m.journal, d)
	return nil
}

// settle makes the changes durable that touch dir, and what must come before
// them: an earlier change in another directory that one of them touches too.
func settle(journal []nameOp, dir *node) []nameOp {
	need := map[*node]bool{dir: true}
	take := make([]bool, len(journal))
	for i := len(journal) - 1; i >= 0; i-- {
		for _, e := range journal[i].set {
			take[i] = take[i] || need[e.dir]
		}
		if take[i] {
			for _, e := range journal[i].set {
				need[e.dir] = true
			}
		}
	}
	var rest []nameOp
	for i, op := range journal {
		if !take[i] {
			rest = append(rest, op)
			continue
		}
		for _, e := range op.set {
			put(e.dir.durable, e)
		}
	}
	return rest
}

// Space implements durable.FS: Mem never fills. Wrap it with Full.
func (m *Mem) Space(name string) (durable.Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.read()
	if err == nil {
		_, err = m.find(name)
	}
	if err != nil {
		return durable.Space{}, pathError("statfs", name, err)
	}
	return durable.Space{Total: memSpace, Free: memSpace}, nil
}

// Lock implements durable.FS. Locks belong to this Mem: a CrashClone has none.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.read(); err != nil {
		return nil, pathError("open", name, err)
	}
	n, err := m.find(name)
	if errors.Is(err, fs.ErrNotExist) {
		m.calls++
		n, err = m.create(name)
	}
	if err == nil && n.files != nil {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if m.locks[n] {
		return nil, fmt.Errorf("lock %s: %w", name, durable.ErrLocked)
	}
	m.locks[n] = true
	return &memLock{m: m, n: n, name: name}, nil
}

type memLock struct {
	m      *Mem
	n      *node
	name   string
	closed bool
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.closed {
		return pathError("close", l.name, fs.ErrClosed)
	}
	l.closed = true
	delete(l.m.locks, l.n)
	return pathError("close", l.name, l.m.read())
}

// info describes a node at one moment.
type info struct {
	name string
	size int64
	dir  bool
}

func describe(name string, n *node) info {
	return info{name: name, size: n.data.size, dir: n.files != nil}
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
