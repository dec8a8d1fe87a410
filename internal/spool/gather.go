package spool

import (
	"math"
	"time"
)

// gatherer decides whether the committer waits for more before it writes.
//
// A sync costs the same for one message as for forty, and while it runs others
// queue: that alone fills batches when the disk is the slow part. When the CPU
// is (32 sessions on 2 cores, a sync of 0.15 ms), batches hold one or two. So
// the committer lets drafts that are open now come along, PostgreSQL's
// commit_siblings, with three bounds: it waits for at most half of the most
// drafts and commits that were open at once lately, at most bound() long, and
// only while waiting pays: slow clients keep drafts open for minutes, and when
// no one came in recent waits the committer stops waiting, but for one batch
// in probeEvery. A single session never waits, because nobody else is active.
type gatherer struct {
	sync   float64 // moving average of one sync, ns
	peak   float64 // most active at once, decaying
	payoff float64 // moving average of how many came during a wait
	count  int
}

const (
	gatherMin  = 50 * time.Microsecond
	gatherMax  = time.Millisecond
	probeEvery = 32
)

// target is how many waiters the batch should have before it is written;
// active counts open drafts and commits under way.
func (g *gatherer) target(active int) int {
	g.peak = max(float64(active), g.peak*0.98)
	if active <= 1 {
		return 0
	}
	g.count++
	if g.payoff < 0.5 && g.count%probeEvery != 0 {
		return 0
	}
	return int(math.Ceil(g.peak / 2))
}

// bound is the longest wait: twice what the sync will take.
func (g *gatherer) bound() time.Duration {
	return min(max(time.Duration(2*g.sync), gatherMin), gatherMax)
}

// waited notes how many came during a wait.
func (g *gatherer) waited(came int) { g.payoff += (min(float64(came), 4) - g.payoff) / 8 }

// synced notes the length of a sync.
func (g *gatherer) synced(d time.Duration) {
	if g.sync == 0 {
		g.sync = float64(d)
	}
	g.sync += (min(float64(d), 20*g.sync) - g.sync) / 16
}
