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
	if s.scarce(octets) {
		s.stats.refusedRoom.Add(1)
		return ErrNoRoom
	}
	return nil
}

// scarce says that new mail of so many octets must not come in.
func (s *Spool) scarce(octets int64) bool {
	left := s.free.Load() - s.spent.Load() - octets
	inodes := s.room.inodes.Load()
	return left < s.cfg.MinFreeOctets || inodes >= 0 && inodes < s.cfg.MinFreeInodes || s.short(octets)
}

// short says that new mail of so many octets would use what changes need: the
// last eighth of a segment that has no next, or the ballast's octets.
func (s *Spool) short(octets int64) bool {
	return s.reserved.Load() || s.tight.Load() && s.headLeft.Load()-octets < s.cfg.SegmentOctets/8
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

// useBallast gives n octets of the ballast to what must be written now, and
// reports whether there were so many. Segments for changes may use half of
// it: checkpoints and events, without which no segment is freed, need the rest.
func (s *Spool) useBallast(n int64, half bool) bool {
	floor := int64(0)
	if half {
		floor = s.cfg.BallastOctets / 2
	}
	left, err := s.shrinkBallast(n, floor)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Logger.Error("spool cannot give up ballast", "error", err.Error())
	}
	if err != nil || left < 0 {
		return false
	}
	s.reserved.Store(true)
	s.cfg.Logger.Warn("spool gave up ballast: the disk is full", "left", left)
	return true
}

// shrinkBallast cuts n octets off, or all that is above the floor when that is
// less and the floor is 0. It returns -1 when nothing could be cut.
func (s *Spool) shrinkBallast(n, floor int64) (left int64, err error) {
	fi, err := s.fs.Stat(s.ballastName())
	if err != nil {
		return -1, err
	}
	left = fi.Size() - n
	if floor == 0 {
		left = max(left, 0)
	}
	if left < floor || fi.Size() == 0 {
		return -1, nil
	}
	f, err := s.fs.OpenReadWrite(s.ballastName())
	if err != nil {
		return -1, err
	}
	return left, errors.Join(f.Truncate(left), f.Close())
}

// keepBallast makes the ballast (again) when there is room for it thrice.
func (s *Spool) keepBallast() {
	if s.cfg.BallastOctets <= 0 {
		return
	}
	if fi, err := s.fs.Stat(s.ballastName()); err == nil && fi.Size() >= s.cfg.BallastOctets {
		s.reserved.Store(false)
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
	s.reserved.Store(false)
	return f.Close()
}
