package spool

import (
	"errors"
	"io/fs"
	"path"
	"sync/atomic"
	"syscall"

	"github.com/postern-mail/postern/internal/durable"
)

// roomWatch is the last look at the free space.
type roomWatch struct {
	total  atomic.Int64
	inodes atomic.Int64 // free; -1: the file system has no limit
	failed atomic.Bool  // the look failed: nothing is known
}

func (w *roomWatch) init() { w.inodes.Store(-1) }

// Room says whether content of so many octets would be taken now: nil, or
// ErrNoRoom, ErrIO or ErrClosed. It costs no system call: the free space is
// looked at every RoomEvery, and what was used since is counted.
func (s *Spool) Room(octets int64) error {
	if s.room.failed.Load() {
		return ErrIO
	}
	left := s.free.Load() - s.spent.Load() - octets
	inodes := s.room.inodes.Load()
	full := left < s.cfg.MinFreeOctets || inodes >= 0 && inodes < s.cfg.MinFreeInodes
	if full || s.tight.Load() && s.headLeft.Load()-octets < s.cfg.SegmentOctets/8 {
		s.stats.refusedRoom.Add(1)
		return ErrNoRoom
	}
	return nil
}

// lookAtRoom reads the free space. A file system that does not say how much
// is free (all zero) is taken to have room until a write says ENOSPC.
func (s *Spool) lookAtRoom() {
	sp, err := s.fs.Space(s.dir)
	if err != nil {
		s.room.failed.Store(true)
		s.cfg.Logger.Error("spool cannot read the free space", "error", err.Error())
		return
	}
	if sp == (durable.Space{}) {
		sp.Free, sp.Total = 1<<62, 1<<62
	}
	s.spent.Store(0)
	s.free.Store(sp.Free)
	s.room.total.Store(sp.Total)
	if sp.Inodes > 0 {
		s.room.inodes.Store(sp.IFree)
	} else {
		s.room.inodes.Store(-1)
	}
	s.room.failed.Store(false)
}

func (s *Spool) ballastName() string { return path.Join(s.dir, "ballast") }

// dropBallast gives the ballast's octets to what must be written now. It
// reports whether there was any.
func (s *Spool) dropBallast() bool {
	err := s.fs.Remove(s.ballastName())
	if err == nil {
		s.cfg.Logger.Warn("spool gave up its ballast: the disk is full")
	} else if !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Logger.Error("spool cannot give up its ballast", "error", err.Error())
	}
	return err == nil
}

// keepBallast makes the ballast (again) when there is room for it thrice.
func (s *Spool) keepBallast() {
	if s.cfg.BallastOctets <= 0 {
		return
	}
	if fi, err := s.fs.Stat(s.ballastName()); err == nil && fi.Size() >= s.cfg.BallastOctets {
		return
	}
	if s.free.Load() < s.cfg.MinFreeOctets+3*s.cfg.BallastOctets {
		return
	}
	if err := s.makeBallast(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		s.cfg.Logger.Warn("spool cannot make its ballast", "error", err.Error())
	}
}

func (s *Spool) makeBallast() error {
	f, err := s.fs.Create(s.ballastName())
	if errors.Is(err, fs.ErrExist) {
		f, err = s.fs.OpenReadWrite(s.ballastName())
	}
	if err != nil {
		return err
	}
	err = f.Allocate(s.cfg.BallastOctets)
	if err != nil {
		return errors.Join(err, f.Close(), s.fs.Remove(s.ballastName()))
	}
	return f.Close()
}
