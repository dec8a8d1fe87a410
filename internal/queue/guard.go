package queue

import (
	"sync"
	"time"
)

// wallJump is the difference between wall time and monotonic time above which
// the wall is not believed. docs/HOUSE.md "Clock".
const wallJump = time.Hour

// wallGuard compares the wall clock with the monotonic one. While it is not
// calm nothing expires. A machine that was suspended looks the same as a clock
// that was set, and is treated the same.
type wallGuard struct {
	mu     sync.Mutex
	wall   time.Time // at the last look, without monotonic reading
	mono   time.Time // at the last look, for its monotonic reading only
	skew   time.Duration
	jumped bool
}

func (g *wallGuard) begin(wall, mono, lastSeen time.Time) {
	g.wall, g.mono = wall.Round(0), mono
	if !lastSeen.IsZero() {
		g.skew = g.wall.Sub(lastSeen.Round(0))
		g.jumped = g.skew.Abs() > wallJump
	}
}

// calm looks at the clocks and reports whether wall time can be believed. A
// clock that comes back to within an hour of where it ought to be is believed
// again.
func (g *wallGuard) calm(wall time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	wall = wall.Round(0)
	off := wall.Sub(g.wall) - now.Sub(g.mono)
	g.wall, g.mono = wall, now
	switch {
	case g.jumped:
		g.skew += off
		g.jumped = g.skew.Abs() > wallJump
	case off.Abs() > wallJump:
		g.jumped, g.skew = true, off
	}
	return !g.jumped
}

// confirm makes the wall's present time the right one.
func (g *wallGuard) confirm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.jumped, g.skew = false, 0
}

// state returns the jump that is not confirmed, and whether there is one.
func (g *wallGuard) state() (time.Duration, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.skew, g.jumped
}

// ConfirmClock says that the wall clock's present time is right, after a jump
// of more than an hour has stopped expiry.
func (q *Queue) ConfirmClock() { q.guard.confirm() }

// ClockJump returns by how much the wall clock jumped, and true while that
// stops expiry.
func (q *Queue) ClockJump() (time.Duration, bool) { return q.guard.state() }
