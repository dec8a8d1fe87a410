package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/telemetry"
)

// What the spool refuses with. Every error it returns wraps one of these, or
// is the context's.
var (
	// ErrNoRoom says that the disk is, or soon would be, full: 452.
	ErrNoRoom = errors.New("no room on the spool's disk")
	// ErrMemory says that the bound on octets in memory is reached: 452.
	ErrMemory = errors.New("no room in memory for content")
	// ErrIO says that a write or sync failed and nothing was accepted: 451.
	ErrIO = errors.New("the spool's disk failed")
	// ErrUnknown says that the caller stopped waiting: the commit may yet
	// succeed. The client hears 451 and may send a duplicate.
	ErrUnknown = errors.New("gave up waiting for the spool: outcome unknown")
	// ErrClosed says that the spool is closing or closed: 421.
	ErrClosed = errors.New("spool is closed")
	// ErrGone says that no live message has this ID.
	ErrGone = errors.New("no such live message")
	// ErrDamaged says that a message's octets on disk do not match their sum.
	ErrDamaged = errors.New("damaged on disk")
	// ErrInvalid says that the caller gave something that cannot be: a defect.
	ErrInvalid = errors.New("invalid use of the spool")
)

// Budget bounds octets in memory; limit.Octets is one.
type Budget interface {
	TryTake(n int64) bool
	Give(n int64)
}

// NodeIdentity tells a data directory that stays where it was made from one
// that was copied, restored or moved to another machine.
type NodeIdentity struct {
	// Machine is the machine's ID as the system knows it (/etc/machine-id).
	// Only its hash is stored. "" is a machine ID like any other.
	Machine string
	// Inode is that of Config.Dir; 0 asks Open to find it.
	Inode uint64
}

// Config is what a spool is built from. FS and Dir are required; every other
// zero value means the default that is stated. Octets are octets, not KiB.
type Config struct {
	FS       durable.FS
	Dir      string // made when absent
	Identity NodeIdentity

	SegmentOctets int64 // 64 MiB; a multiple of 4096, at least 64 KiB, at most 1 GiB
	InlineMax     int64 // 256 KiB; longer content goes to a draft file. At most a quarter of SegmentOctets
	EventLogMax   int64 // 8 GiB; the oldest event files are shed above it
	MinFreeOctets int64 // 256 MiB; below it Room refuses. Negative: 0
	MinFreeInodes int64 // 1,000; negative: 0
	BallastOctets int64 // 256 MiB; negative: none

	FinishSyncDelay   time.Duration // 20 ms: the longest time that a written change waits for its sync
	CheckpointEvery   time.Duration // 60 s, when something changed
	CheckpointOctets  int64         // 128 MiB of log since the last one
	EventSyncEvery    time.Duration // 1 s
	RoomEvery         time.Duration // 1 s between looks at the free space
	CopyForwardAfter  time.Duration // 10 min: age of a segment of which at most a quarter lives
	CopyForwardAtMost time.Duration // 1 h: age at which it is copied forward in any case
	WipeAfter         time.Duration // 10 min: a spare segment that was not used again is overwritten

	Clock   telemetry.Clock       // telemetry.WallClock
	Logger  *slog.Logger          // slog.Default
	Metrics prometheus.Registerer // nil: not registered; Stats works all the same
	Memory  Budget                // nil: no bound
}

func (c Config) withDefaults() (Config, error) {
	if c.FS == nil || c.Dir == "" {
		return c, fmt.Errorf("spool: FS and Dir are required: %w", ErrInvalid)
	}
	octets(&c.SegmentOctets, 64<<20)
	octets(&c.InlineMax, min(256<<10, c.SegmentOctets/4))
	octets(&c.EventLogMax, 8<<30)
	octets(&c.MinFreeOctets, 256<<20)
	octets(&c.MinFreeInodes, 1000)
	octets(&c.BallastOctets, 256<<20)
	octets(&c.CheckpointOctets, 128<<20)
	interval(&c.FinishSyncDelay, 20*time.Millisecond)
	interval(&c.CheckpointEvery, time.Minute)
	interval(&c.EventSyncEvery, time.Second)
	interval(&c.RoomEvery, time.Second)
	interval(&c.CopyForwardAfter, 10*time.Minute)
	interval(&c.CopyForwardAtMost, time.Hour)
	interval(&c.WipeAfter, 10*time.Minute)
	if c.Clock == nil {
		c.Clock = telemetry.WallClock
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.SegmentOctets%block != 0 || c.SegmentOctets < 64<<10 || c.SegmentOctets > 1<<30 {
		return c, fmt.Errorf("spool: segments of %d octets: %w", c.SegmentOctets, ErrInvalid)
	}
	if c.InlineMax > c.SegmentOctets/4 {
		return c, fmt.Errorf("spool: %d octets inline in segments of %d: %w", c.InlineMax, c.SegmentOctets, ErrInvalid)
	}
	return c, nil
}

func octets(v *int64, def int64) {
	if *v == 0 {
		*v = def
	}
	*v = max(*v, 0)
}

func interval(v *time.Duration, def time.Duration) {
	if *v <= 0 {
		*v = def
	}
}
