package queue

import (
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
)

// lane is one goroutine with one connection at most. Its fields below the line
// belong to the queue's mutex.
type lane struct {
	hop       *hop
	out       Lane     // nil until the first attempt
	wake      chan job // capacity 1: only an idle lane is given a job, one
	timer     *time.Timer
	changes   []envelope.Change // scratch
	delivered bool              // something was, in this attempt

	// ---
	isIdle       bool
	older, newer *lane // idle lanes of all next hops
	turn         int   // items since it was opened
	evicted      bool  // told to end so that another next hop gets its place
}

// turnItems is how many items a lane carries before it gives its place to a
// next hop that has to wait for one. Chosen: about a hundredth of a second of
// work, so that the price of a new connection is shared by some messages.
const turnItems = 10

// job is one item in the hands of a lane.
type job struct {
	ref      ref
	id       envelope.ID
	env      *envelope.Envelope // nil: to be read from the store
	rcpts    []int
	attempts int
	began    int64
	arrival  uint32
	probe    bool
	retire   bool // no item: the lane is to end
}

// pop takes the next item of h for a lane. There is one.
func (q *Queue) pop(h *hop, now int64) job {
	r := h.ready.head
	it := q.t.at(r)
	q.t.unlink(&h.ready, r)
	it.phase = active
	h.busy++
	f := q.takeFresh(it)
	if h.down {
		h.probing = true
	}
	return job{
		ref: r, id: it.id, env: f.env, rcpts: f.rcpts, attempts: int(it.attempts),
		began: now, arrival: it.arrival, probe: h.down,
	}
}

// pump gives ready items of h to lanes, as far as the bounds allow: first to
// idle ones, the last used first, then to new ones. A lane that has work takes
// the next item by itself. There is no wait to see whether the lanes there are
// would do (as Postfix has none): the item at the head may be behind a message
// of 50 MiB or a peer that thinks for a minute. Lanes that turn out to be too
// many are never the last used, and close after LaneIdle.
func (q *Queue) pump(h *hop, now int64) {
	for h.ready.n > 0 && !q.stopping {
		if h.blocked(now) {
			q.setAlarm(h)
			return
		}
		if n := len(h.idle); n > 0 {
			q.wakeIdle(h.idle[n-1], q.pop(h, now))
			continue
		}
		if h.lanes >= h.allowed() {
			return
		}
		if !q.hasRoom(h) {
			q.enring(h)
			if old := q.idle.oldest; old != nil && q.lanes >= q.cfg.MaxLanes && q.evicting < q.ring.n() {
				old.evicted = true // its end serves the ring
				q.evicting++
				q.wakeIdle(old, job{retire: true})
			}
			return
		}
		q.open(h, now)
	}
}

// open starts a lane of h with its first item.
func (q *Queue) open(h *hop, now int64) {
	l := &lane{hop: h, wake: make(chan job, 1)}
	if h.lanes == 0 {
		q.hopsBusy++
	}
	h.lanes++
	q.lanes++
	if !h.known {
		q.strange++
	}
	q.wg.Add(1)
	q.counter.opened.Add(1)
	go q.run(l, q.pop(h, now))
}

// run carries items until there are none. The lane's place is given back when
// its connection is closed.
func (q *Queue) run(l *lane, j job) {
	defer q.wg.Done()
	defer q.ended(l)
	defer l.close(q)
	for {
		res := q.attempt(l, &j)
		next, ok := q.turnOver(l, &j, &res)
		if !ok {
			return
		}
		j = next
	}
}

// close ends the connection. A panic in there ends only this lane.
func (l *lane) close(q *Queue) {
	q.guarded(func() {
		if l.out != nil {
			l.out.Close()
		}
	})
}

// ended gives the lane's place back and serves who waits for one.
func (q *Queue) ended(l *lane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.mono()
	h := l.hop
	h.lanes--
	q.lanes--
	if !h.known {
		q.strange--
	}
	if l.evicted {
		q.evicting--
	}
	if h.lanes == 0 {
		q.hopsBusy--
	}
	q.serveRing(now)
	q.pump(h, now)
}

// turnOver settles the item that was attempted and takes the next one, waiting
// for it while the connection may be kept.
func (q *Queue) turnOver(l *lane, j *job, res *result) (job, bool) {
	next, then := q.step(l, j, res)
	q.sayTurn(l.hop.route.Key, then.turned, res)
	if then.wait {
		return q.await(l)
	}
	return next, then.work
}

// stepped is what a lane does after step: work on the job, wait, or end.
type stepped struct {
	work, wait bool
	turned     site // the next hop went up or down
}

// step is all that happens under the mutex between two items of a lane. The
// lane takes its next item before others are opened for what is left.
func (q *Queue) step(l *lane, j *job, res *result) (next job, then stepped) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, h := q.mono(), l.hop
	then.turned = q.settle(h, j, res, now)
	l.turn++
	switch {
	case res.panicked, q.stopping, h.lanes > h.allowed(), q.shouldYield(l):
		if h.ready.n > 0 && !h.blocked(now) {
			q.enring(h)
		}
		return next, then
	case h.ready.n > 0 && !h.blocked(now):
		next, then.work = q.pop(h, now), true
	default:
		q.beIdle(l)
		then.wait = true
	}
	q.pump(h, now)
	return next, then
}

// await waits for a job or for the end of the lane's idle time.
func (q *Queue) await(l *lane) (job, bool) {
	if l.timer == nil {
		l.timer = time.NewTimer(q.cfg.LaneIdle)
	} else {
		l.timer.Reset(q.cfg.LaneIdle)
	}
	select {
	case j := <-l.wake:
		l.timer.Stop()
		return j, !j.retire
	case <-l.timer.C:
	}
	q.mu.Lock()
	if l.isIdle {
		q.unIdle(l)
		q.mu.Unlock()
		return job{}, false
	}
	q.mu.Unlock()
	j := <-l.wake // given in the moment the time ran out
	return j, !j.retire
}

// laneAge is the idle lanes of all next hops, oldest first.
type laneAge struct{ oldest, newest *lane }

func (q *Queue) beIdle(l *lane) {
	l.isIdle = true
	l.hop.idle = append(l.hop.idle, l)
	l.older, l.newer = q.idle.newest, nil
	if l.older != nil {
		l.older.newer = l
	} else {
		q.idle.oldest = l
	}
	q.idle.newest = l
}

func (q *Queue) unIdle(l *lane) {
	l.isIdle = false
	own := l.hop.idle
	for i := len(own) - 1; i >= 0; i-- {
		if own[i] == l {
			l.hop.idle = append(own[:i], own[i+1:]...)
			break
		}
	}
	if l.older != nil {
		l.older.newer = l.newer
	} else {
		q.idle.oldest = l.newer
	}
	if l.newer != nil {
		l.newer.older = l.older
	} else {
		q.idle.newest = l.older
	}
	l.older, l.newer = nil, nil
}

// wakeIdle hands a job to an idle lane. It does not wait: the channel is empty.
func (q *Queue) wakeIdle(l *lane, j job) {
	q.unIdle(l)
	l.wake <- j
}

// settle notes what became of an item and what was learned of its next hop.
func (q *Queue) settle(h *hop, j *job, res *result, now int64) (turned site) {
	h.busy--
	if j.probe {
		h.probing = false
	}
	it := q.t.at(j.ref)
	if res.cause != cause.None {
		it.cause = res.cause
	}
	for _, p := range res.moved {
		q.adopt(j.id, p, it, now)
	}
	switch res.fate {
	case fateEnded:
		q.drop(j.ref)
	case fateHeld:
		it.phase = held
	case fateWaits:
		if res.counted && it.attempts < 1<<16-1 {
			it.attempts++
		}
		if res.panicked {
			q.panics[j.ref]++
		}
		q.makeWaiting(j.ref, now+int64(res.wait))
	}
	return q.learn(h, j, res, now)
}

// adopt makes an item for recipients that were found with a message but go to
// another next hop than its item does, unless that has one: their route has
// changed since.
func (q *Queue) adopt(id envelope.ID, p part, from *item, now int64) {
	h := q.hopOf(p.hop)
	if q.t.find(id, h.index) != 0 {
		return
	}
	r := q.enter(id, h)
	if r == 0 {
		return
	}
	it := q.t.at(r)
	it.arrival, it.size, it.tenant = from.arrival, from.size, from.tenant
	q.makeReady(r)
	q.pump(h, now)
}

// learn draws conclusions about a whole next hop from one attempt.
func (q *Queue) learn(h *hop, j *job, res *result, now int64) (turned site) {
	if res.cause != cause.None && res.fate != fateHeld {
		h.cause = res.cause
	}
	if res.reply != "" {
		h.lastReply = res.reply
	}
	switch res.site {
	case siteUp:
		if h.down && !j.probe {
			return siteUnknown // it began before the trouble: old news
		}
		if h.down {
			h.down, h.fails, h.window, h.changed = false, 0, 1, now
			turned = siteUp
		}
		h.heard = now
		q.know(h, true, now)
		if res.delivered && h.window < h.bound {
			h.window++
		}
	case siteDown:
		if j.began < h.changed && !j.probe {
			return siteUnknown // one trouble seen by several lanes is one trouble
		}
		if !h.down {
			h.since, turned = q.cfg.Clock(), siteDown
		}
		h.down, h.changed = true, now
		q.know(h, false, now)
		h.fails++
		h.until = now + int64(q.cfg.step(q.cfg.SiteBackoff, h.fails))
		q.setAlarm(h)
	}
	return turned
}
