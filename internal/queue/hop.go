package queue

import (
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/tenant"
)

// startWindow is how many lanes a next hop gets before any delivery to it has
// succeeded; each success adds one, up to its bound. 5 is Postfix's
// initial_destination_concurrency.
const startWindow = 5

// hop is what the queue knows of one next hop. It lives while it has items or
// lanes, or is down.
type hop struct {
	index uint32
	route tenant.NextHop
	items int  // in any phase
	busy  int  // active ones
	ready list // to be attempted now, oldest first

	lanes  int
	idle   []*lane // last in, first out: what is not needed grows old and closes
	window int     // lanes allowed now: startWindow .. bound
	bound  int

	// A next hop that is down keeps its mail in ready and gives a lane one
	// item at a time, at the end of each wait.
	down    bool
	probing bool
	until   int64 // when the next probe may go
	fails   int   // probes that failed in a row
	changed int64 // when down last changed or lasted on; older attempts say nothing new
	since   time.Time
	alarm   int // place in Queue.alarms, -1 when not there

	known     bool  // the last that was learned of it is that it answers
	heard     int64 // when it last did
	queued    inRing
	cause     cause.Cause
	lastReply string
}

// blocked reports whether h may not be given an item at the time now.
func (h *hop) blocked(now int64) bool {
	return h.down && (h.probing || now < h.until)
}

// allowed is the number of lanes that h may have now.
func (h *hop) allowed() int {
	if h.down {
		return 1
	}
	return h.window
}

// setRoute takes over a route. One with other settings has another key.
func (h *hop) setRoute(r tenant.NextHop, standard int) {
	h.route = r
	h.bound = standard
	if r.MaxConnections > 0 {
		h.bound = r.MaxConnections
	}
	h.window = min(max(h.window, 1), h.bound)
}

// alarms orders the next hops that are down by the time of their next probe.
// It implements heap.Interface.
type alarms []*hop

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].until < a[j].until }
func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].alarm, a[j].alarm = i, j
}

// Push implements heap.Interface.
func (a *alarms) Push(x any) {
	h := x.(*hop)
	h.alarm = len(*a)
	*a = append(*a, h)
}

// Pop implements heap.Interface.
func (a *alarms) Pop() any {
	last := len(*a) - 1
	h := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	h.alarm = -1
	return h
}
