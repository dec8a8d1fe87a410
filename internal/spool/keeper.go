package spool

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/telemetry"
)

// maxSpares is how many spare segments wait for use; more are removed. Chosen.
const maxSpares = 2

// keptCheckpoints: the newest, and the one before should that be damaged.
const keptCheckpoints = 2

// errInUse says that someone reads the segment.
var errInUse = errors.New("in use")

// keeper does what needs no haste: checkpoints, freeing and copying forward,
// draft files, wiping, the look at the free space. Its fields are its own but
// for what describe reads before a snapshot.
type keeper struct {
	nudge       chan struct{}
	checkpoints []checkpointHeader // on the disk, oldest first
	lastNumber  uint64
	lastTime    time.Time
	lastOctets  int64 // of log, at the last checkpoint
	lastChange  int64 // ops at the last checkpoint
	size        int64 // octets of the last checkpoint
	scars       map[uint64]scar
	adopted     map[envelope.Incarnation]bool
	pendingRm   []orphan
}

// orphan is a draft file that may go once the finish that ended its message
// is synced.
type orphan struct {
	id    envelope.ID
	batch uint64
}

func (k *keeper) init() {
	k.nudge = make(chan struct{}, 1)
	k.scars = map[uint64]scar{}
	k.adopted = map[envelope.Incarnation]bool{}
}

// describe puts into a snapshot what only the keeper knows. Both maps change
// only in Open.
func (k *keeper) describe(sn *snapshot) {
	for _, sr := range k.scars {
		sn.scars = appendScar(sn.scars, sr)
	}
	for inc := range k.adopted {
		sn.adopt = append(sn.adopt, inc[:]...)
	}
}

func (k *keeper) completed(h checkpointHeader, octets int64) {
	k.checkpoints = append(k.checkpoints, h)
	k.size = octets
}

func (s *Spool) nudgeKeeper() {
	select {
	case s.keep.nudge <- struct{}{}:
	default:
	}
}

func (s *Spool) runKeeper() {
	defer s.group.Done()
	s.keep.lastTime = time.Now()
	tick := time.NewTicker(s.cfg.RoomEvery)
	defer tick.Stop()
	s.keepBallast()
	for {
		select {
		case <-s.stop:
			return
		case <-s.keep.nudge:
		case <-tick.C:
			s.lookAtRoom()
			s.keepBallast()
			s.wipeSpares()
			s.copyForward()
		}
		s.checkpointIfDue()
		s.removeOrphans()
		s.freeSegments()
	}
}

// checkpointIfDue writes a snapshot that the committer has started, or asks
// for one: when CheckpointOctets of log (and twice the last checkpoint's size)
// were written since, or something changed and CheckpointEvery passed, or the
// disk is full, because only what two checkpoints cover is freed.
func (s *Spool) checkpointIfDue() {
	k := &s.keep
	if err := s.writeCheckpoint(); err != nil {
		s.cfg.Logger.Error("spool checkpoint failed", "error", err.Error())
	}
	written, changed := s.stats.octets.Load(), s.stats.messages.Load()+s.stats.changes.Load()
	long := changed != k.lastChange && time.Since(k.lastTime) >= s.cfg.CheckpointEvery
	if !long && !s.wouldFree() && written-k.lastOctets < max(s.cfg.CheckpointOctets, 2*k.size) {
		return
	}
	k.lastTime, k.lastOctets, k.lastChange = time.Now(), written, changed
	s.askCheckpoint()
}

// wouldFree: room is short, and a segment would be free with another
// checkpoint.
func (s *Spool) wouldFree() bool {
	seg := s.oldestSegment()
	return (s.tight.Load() || s.scarce(0)) && seg != nil && seg.number != s.headNumber.Load() && s.unused(seg)
}

func (s *Spool) askCheckpoint() {
	s.checkpointWanted.Store(true)
	s.mu.Lock()
	s.idle = false
	s.wake()
	s.mu.Unlock()
}

// lastCheckpoint is Close's: all goroutines have ended.
func (s *Spool) lastCheckpoint(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.commit.head == nil {
		return nil
	}
	s.startSnapshot()
	return s.writeCheckpoint()
}

func (s *Spool) dropOldCheckpoints() error {
	k := &s.keep
	for len(k.checkpoints) > keptCheckpoints {
		if err := s.fs.Remove(checkpointName(s.dir, k.checkpoints[0].number)); err != nil {
			return err
		}
		k.checkpoints = k.checkpoints[1:]
	}
	return nil
}

// removeOrphans removes the draft files of messages that ended, once that is
// synced: else a power cut could bring a message back without its content.
func (s *Spool) removeOrphans() {
	s.idx.mu.Lock()
	ids := s.idx.orphans
	s.idx.orphans = nil
	s.idx.mu.Unlock()
	mark := s.written.Load()
	for _, id := range ids {
		s.keep.pendingRm = append(s.keep.pendingRm, orphan{id, mark})
	}
	rest := s.keep.pendingRm[:0]
	for _, o := range s.keep.pendingRm {
		if o.batch > s.synced.Load() {
			rest = append(rest, o)
			continue
		}
		if err := s.fs.Remove(draftName(s.dir, o.id)); err != nil {
			s.cfg.Logger.Warn("spool draft left behind", "error", err.Error(), "draft", o.id.String())
		}
		telemetry.FailPoint("spool.draft.removed")
	}
	s.keep.pendingRm = rest
}

// freeSegments frees the oldest segments while they hold nothing that is
// needed: no live mail, nothing behind the older of two checkpoints, no event
// that is not synced, no reader.
func (s *Spool) freeSegments() {
	k := &s.keep
	if len(k.checkpoints) < keptCheckpoints {
		return
	}
	bound := k.checkpoints[len(k.checkpoints)-keptCheckpoints].segment
	events := s.events.syncedThrough.Load()
	for {
		seg := s.oldestSegment()
		if seg == nil || seg.number >= bound || seg.last > events || !s.unused(seg) {
			return
		}
		err := s.freeSegment(seg)
		if errors.Is(err, errInUse) {
			return
		}
		if err != nil {
			s.cfg.Logger.Warn("spool segment not freed", "error", err.Error(), "segment", seg.number)
			return
		}
		s.stats.recycled.Add(1)
		telemetry.FailPoint("spool.segment.recycled")
	}
}

func (s *Spool) oldestSegment() *segment {
	s.segMu.RLock()
	defer s.segMu.RUnlock()
	var old *segment
	for _, seg := range s.segs {
		if old == nil || seg.number < old.number {
			old = seg
		}
	}
	return old
}

func (s *Spool) segmentCount() int {
	s.segMu.RLock()
	defer s.segMu.RUnlock()
	return len(s.segs)
}

func (s *Spool) unused(seg *segment) bool {
	s.idx.mu.RLock()
	defer s.idx.mu.RUnlock()
	u := s.idx.segments[uint32(seg.number)]
	return u == nil || u.messages == 0 && !u.pinned
}

// freeSegment makes seg a spare, or removes it when there are enough, or when
// its disk blocks have failed.
func (s *Spool) freeSegment(seg *segment) error {
	s.segMu.Lock()
	if seg.pins.Load() > 0 {
		s.segMu.Unlock()
		return errInUse
	}
	delete(s.segs, seg.number)
	s.segMu.Unlock()
	s.idx.mu.Lock()
	delete(s.idx.segments, uint32(seg.number))
	s.idx.mu.Unlock()
	s.spareMu.Lock()
	enough := len(s.spares) >= maxSpares
	s.spareMu.Unlock()
	if seg.file != nil {
		if err := seg.file.Close(); err != nil {
			return err
		}
	}
	if enough || seg.doomed || seg.bad {
		return errors.Join(s.fs.Remove(seg.name), s.fs.SyncDir(s.dir))
	}
	name := spareName(s.dir, s.spareNumber.Add(1))
	if err := errors.Join(s.fs.Rename(seg.name, name), s.fs.SyncDir(s.dir)); err != nil {
		return err
	}
	return s.reuseSpare(name)
}

// wipeSpares overwrites spares that held mail and were not used again for
// WipeAfter. The file stays allocated: its blocks are what makes it quick.
func (s *Spool) wipeSpares() {
	now := s.cfg.Clock()
	s.spareMu.Lock()
	var old *prepared
	for i, p := range s.spares {
		if p.used && now.Sub(p.at) >= s.cfg.WipeAfter {
			old = p
			s.spares = append(s.spares[:i], s.spares[i+1:]...)
			break
		}
	}
	s.spareMu.Unlock()
	if old == nil {
		return
	}
	err := s.zero(old.file, 0, s.cfg.SegmentOctets, false)
	if err == nil {
		err = old.file.Sync()
	}
	if err != nil {
		s.cfg.Logger.Warn("spool spare not wiped: removed", "error", err.Error())
		if err := errors.Join(old.file.Close(), s.fs.Remove(old.name)); err != nil {
			s.cfg.Logger.Warn("spool spare not removed", "error", err.Error())
		}
		return
	}
	old.used = false
	s.addSpare(old)
}
