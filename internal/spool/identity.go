package spool

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/postern-mail/postern/internal/envelope"
)

// identity is the text file that says which incarnation a data directory is
// and where it was made.
type identity struct {
	incarnation envelope.Incarnation
	machine     string // SHA-256 of the machine's ID
	inode       uint64
}

func (id identity) text() string {
	return fmt.Sprintf("format 1\nincarnation %v\nmachine %s\ninode %d\n", id.incarnation, id.machine, id.inode)
}

func parseIdentity(text string) (identity, bool) {
	var id identity
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		fields[key] = value
	}
	inc, err := envelope.ParseIncarnation(fields["incarnation"])
	inode, ierr := strconv.ParseUint(fields["inode"], 10, 64)
	id = identity{incarnation: inc, machine: fields["machine"], inode: inode}
	return id, err == nil && ierr == nil && fields["format"] == "1"
}

func (s *Spool) identityName() string { return path.Join(s.root, "identity") }

// identify finds out which incarnation this is, or draws one, and locks it.
func (s *Spool) identify(rec *Recovery) error {
	if err := s.makeRoot(); err != nil {
		return err
	}
	want, err := s.here()
	if err != nil {
		return err
	}
	got, ok, err := s.readIdentity()
	if err != nil {
		return err
	}
	if ok && got.machine == want.machine && got.inode == want.inode {
		s.incarnation = got.incarnation
		s.dir = path.Join(s.root, got.incarnation.String())
		_, err := s.fs.Stat(s.dir)
		if err == nil {
			return s.takeLock()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// The identity was written first, the directory is gone or was never
		// made: IDs may have been drawn, so this incarnation is over.
	}
	return s.drawIncarnation(rec)
}

// makeRoot makes the directory, and its name durable all the way up: also
// when an earlier process made it and the power failed before it was synced.
// Ancestors that we may not open were not made by us.
func (s *Spool) makeRoot() error {
	if err := s.fs.MkdirAll(s.root); err != nil {
		return err
	}
	for dir := path.Clean(s.root); ; {
		up := path.Dir(dir)
		if err := s.fs.SyncDir(up); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if up == dir || up == "." {
			return nil
		}
		dir = up
	}
}

// here is the identity that this machine and directory ask for.
func (s *Spool) here() (identity, error) {
	sum := sha256.Sum256([]byte(s.cfg.Identity.Machine))
	id := identity{machine: hex.EncodeToString(sum[:]), inode: s.cfg.Identity.Inode}
	if id.inode != 0 {
		return id, nil
	}
	fi, err := s.fs.Stat(s.root)
	if err != nil {
		return id, err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id.inode = st.Ino
	}
	return id, nil
}

func (s *Spool) readIdentity() (identity, bool, error) {
	f, err := s.fs.Open(s.identityName())
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, false, nil
	}
	if err != nil {
		return identity{}, false, err
	}
	b := make([]byte, 1024)
	n, err := readFull(f, b, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return identity{}, false, err
	}
	id, ok := parseIdentity(string(b[:n]))
	return id, ok, nil
}

// drawIncarnation makes a new incarnation: its directory and lock first, then
// the identity that names it.
func (s *Spool) drawIncarnation(rec *Recovery) error {
	id, err := s.here()
	if err != nil {
		return err
	}
	_, _ = rand.Read(id.incarnation[:]) // never fails (crypto/rand)
	s.incarnation = id.incarnation
	s.dir = path.Join(s.root, id.incarnation.String())
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return err
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	rec.New = true
	if err := s.fs.SyncDir(s.dir); err != nil {
		return err
	}
	return s.replaceFile(s.root, "identity", id.text())
}

func (s *Spool) takeLock() error {
	lock, err := s.fs.Lock(path.Join(s.dir, "lock"))
	if err != nil {
		return fmt.Errorf("incarnation %v: %w", s.incarnation, err)
	}
	s.lock = lock
	return nil
}

// replaceFile writes a small text file so that it is there whole or as before.
func (s *Spool) replaceFile(dir, name, text string) error {
	tmp := path.Join(dir, name+".tmp")
	if err := s.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.fs.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.fs.Rename(tmp, path.Join(dir, name)); err != nil {
		return err
	}
	return s.fs.SyncDir(dir)
}
