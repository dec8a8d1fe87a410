package queue

import (
	"cmp"
	"slices"
	"time"

	"github.com/postern-mail/postern/internal/cause"
)

// SummaryRows is the most next hops that Summary lists one by one.
const SummaryRows = 1000

// Summary counts what the queue holds. An item is a message's part for one
// next hop.
type Summary struct {
	Time     time.Time `json:"time"`
	Messages int       `json:"messages"` // items: a message with two next hops counts twice
	Waiting  int       `json:"waiting"`  // until their next attempt
	Ready    int       `json:"ready"`    // for a lane, or for their next hop to come up
	Active   int       `json:"active"`
	Held     int       `json:"held"`
	Oldest   time.Time `json:"oldest,omitzero"` // arrival of the oldest item
	Octets   int64     `json:"octets"`          // of content, to the next KiB
	// Hops has the next hops with most items first, at most SummaryRows;
	// Unlisted counts the items of the others.
	Hops     []HopSummary `json:"next_hops"`
	Unlisted int          `json:"unlisted,omitempty"`
	// Loading is true until all that earlier runs left was read back.
	Loading bool `json:"loading,omitempty"`
	// ClockJump, when not 0, is the jump of the wall clock that stops expiry.
	ClockJump time.Duration `json:"clock_jump_ns,omitempty"`
}

// HopSummary is one next hop's share.
type HopSummary struct {
	NextHop string    `json:"next_hop"`
	Waiting int       `json:"waiting"`
	Ready   int       `json:"ready"`
	Active  int       `json:"active"`
	Held    int       `json:"held,omitempty"`
	Lanes   int       `json:"lanes"`
	Oldest  time.Time `json:"oldest,omitzero"`
	// Next is when the next attempt is due: the probe when the next hop is
	// down; zero when nothing waits.
	Next time.Time `json:"next_attempt,omitzero"`
	// Down says since when the whole next hop is in trouble; zero: it is not.
	Down  time.Time `json:"down_since,omitzero"`
	Cause string    `json:"cause,omitempty"` // the most frequent among its items
	// LastReply is the peer's last negative reply, one line.
	LastReply string `json:"last_reply,omitempty"`
}

// tally gathers one next hop's items.
type tally struct {
	waiting, ready, active, held int
	oldest                       uint32
	next                         int64
	causes                       map[cause.Cause]int
}

// Summary walks all items, letting the mutex go in between: the numbers of a
// busy queue are those of the walk, not of one moment.
func (q *Queue) Summary() Summary {
	wall := q.cfg.Clock()
	s := Summary{Time: wall, Hops: []HopSummary{}}
	s.ClockJump, _ = q.guard.state()
	tallies := map[uint32]*tally{}
	var oldest uint32
	var kibs int64
	q.walk(func(_ ref, it *item) {
		t := tallies[it.hop]
		if t == nil {
			t = &tally{}
			tallies[it.hop] = t
		}
		t.add(it)
		kibs += int64(it.size)
		oldest = earlier(oldest, it.arrival)
	})
	s.Oldest, s.Octets = wallTime(oldest), kibs<<10
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Loading = !q.loaded
	now := q.mono()
	for index, t := range tallies {
		s.Messages += t.waiting + t.ready + t.active + t.held
		s.Waiting += t.waiting
		s.Ready += t.ready
		s.Active += t.active
		s.Held += t.held
		if h := q.hops[index]; h != nil {
			s.Hops = append(s.Hops, t.row(h, wall, now))
		}
	}
	slices.SortFunc(s.Hops, func(a, b HopSummary) int {
		return cmp.Or(cmp.Compare(b.total(), a.total()), cmp.Compare(a.NextHop, b.NextHop))
	})
	for _, h := range s.Hops[min(len(s.Hops), SummaryRows):] {
		s.Unlisted += h.total()
	}
	s.Hops = s.Hops[:min(len(s.Hops), SummaryRows)]
	return s
}

func (h *HopSummary) total() int { return h.Waiting + h.Ready + h.Active + h.Held }

func (t *tally) add(it *item) {
	switch it.phase {
	case waiting:
		t.waiting++
		if t.next == 0 || it.due < t.next {
			t.next = it.due
		}
	case ready:
		t.ready++
	case active:
		t.active++
	case held:
		t.held++
	}
	t.oldest = earlier(t.oldest, it.arrival)
	if it.cause != cause.None {
		if t.causes == nil {
			t.causes = map[cause.Cause]int{}
		}
		t.causes[it.cause]++
	}
}

func (t *tally) row(h *hop, wall time.Time, now int64) HopSummary {
	r := HopSummary{
		NextHop: h.route.Key, Waiting: t.waiting, Ready: t.ready, Active: t.active, Held: t.held,
		Lanes: h.lanes, Oldest: wallTime(t.oldest), LastReply: h.lastReply,
	}
	if t.next != 0 {
		r.Next = wall.Add(time.Duration(t.next - now)).Round(0)
	}
	top, most := cause.None, 0
	for c, n := range t.causes {
		if n > most || n == most && c < top {
			top, most = c, n
		}
	}
	if h.down {
		r.Down, r.Next = h.since, wall.Add(time.Duration(h.until-now)).Round(0)
		if top == cause.None {
			top = h.cause
		}
	}
	r.Cause = word(top)
	return r
}

// walk shows every item in use, in the order of the table, to see, with the
// mutex held for a bounded number of them at a time.
func (q *Queue) walk(see func(r ref, it *item)) {
	for from := uint32(1); ; from += sweepItems {
		q.mu.Lock()
		for r := from; r < min(q.t.used, from+sweepItems); r++ {
			if it := q.t.at(r); it.phase != free {
				see(r, it)
			}
		}
		done := from+sweepItems >= q.t.used
		q.mu.Unlock()
		if done {
			return
		}
	}
}

// earlier returns the earlier of two seconds, 0 being none.
func earlier(a, b uint32) uint32 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func wallTime(s uint32) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC()
}
