package queue

import (
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
)

// sweepItems is how many items are looked at before the mutex is let go.
// Chosen: a tenth of a millisecond.
const sweepItems = 4096

// expireAtOnce bounds the expired items taken in one sweep of the table.
const expireAtOnce = 1000

// runKeeper reads back what the store holds, and from then on repairs, expires
// and tidies at intervals.
func (q *Queue) runKeeper() {
	defer q.wg.Done()
	q.guarded(q.startScan)
	scan := time.NewTicker(q.cfg.ScanInterval)
	defer scan.Stop()
	sweep := time.NewTicker(q.cfg.SweepInterval)
	defer sweep.Stop()
	for {
		select {
		case <-q.quit:
			return
		case <-scan.C:
			q.guarded(q.repairScan)
		case <-q.reroute:
			q.guarded(q.followRoutes)
		case <-sweep.C:
			q.guarded(q.sweep)
		}
	}
}

// guarded runs a task of one of the queue's goroutines; a panic ends that task
// only, and is counted and named.
func (q *Queue) guarded(task func()) {
	defer func() {
		if p := recover(); p != nil {
			q.counter.panics.Add(1)
			q.sayPanic(envelope.ID{}, "", p)
		}
	}()
	task()
}

// startScan enters what earlier runs left. What this run commits comes by
// Offer, which may be under way for it right now: such a message is left out
// here and, should its Offer be lost, found by a repair scan.
func (q *Queue) startScan() {
	began := time.Now()
	n := q.scan(func(e *Entry) bool {
		return e.ID.Incarnation() != q.born.Incarnation() || e.ID.Sequence() < q.born.Sequence()
	}, false)
	q.mu.Lock()
	q.loaded = !q.stopping
	q.mu.Unlock()
	q.sayLoaded(n, time.Since(began))
}

// repairScan enters live messages that the queue does not know: their Offer
// was lost or shed. They are remembered for two scans, so that an Offer that
// is merely late is not taken for news.
func (q *Queue) repairScan() {
	q.mu.Lock()
	q.repaired[1] = q.repaired[0]
	q.repaired[0] = map[envelope.ID]struct{}{}
	q.mu.Unlock()
	if n := q.scan(func(*Entry) bool { return true }, true); n > 0 {
		q.counter.repaired.Add(int64(n))
		q.sayRepaired(n)
	}
}

// scan enters the items of all live messages that want chooses and that are
// not known, and returns how many it entered.
func (q *Queue) scan(want func(*Entry) bool, repair bool) (entered int) {
	q.cfg.Store.Live(func(e Entry) bool {
		select {
		case <-q.quit:
			return false
		default:
		}
		if !want(&e) || q.knows(e.ID, repair) {
			return true
		}
		entered += q.enterEntry(&e, repair)
		return true
	})
	return entered
}

// knows reports whether any part of id is in the table. A part that is missing
// beside one that is there is found when that one is attempted.
func (q *Queue) knows(id envelope.ID, repair bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.t.first(id) != 0 || (repair && q.stopping)
}

// scanPart is what an Entry says about one next hop.
type scanPart struct {
	part
	queued   bool
	attempts uint32
	due      time.Time
	cause    cause.Cause
}

// partsOf groups what is left of an entry's recipients by next hop, into parts.
func (q *Queue) partsOf(e *Entry, parts []scanPart) []scanPart {
next:
	for i := range e.Recipients {
		st := &e.Recipients[i]
		if st.State != envelope.Queued && st.State != envelope.Held {
			continue
		}
		hop := q.cfg.Route(e.Tenant, st.Domain)
		for k := range parts {
			if parts[k].hop.Key == hop.Key {
				parts[k].merge(&st.Status)
				continue next
			}
		}
		p := scanPart{part: part{hop: hop}}
		p.merge(&st.Status)
		parts = append(parts, p)
	}
	return parts
}

func (q *Queue) enterEntry(e *Entry, repair bool) int {
	var space [4]scanPart
	parts := q.partsOf(e, space[:0])
	wall := q.cfg.Clock()
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.mono()
	n := 0
	for i := range parts {
		n += q.enterScanned(e, &parts[i], wall, now)
	}
	if n > 0 && repair {
		q.repaired[0][e.ID] = struct{}{}
	}
	return n
}

// merge adds one recipient: the part is due with its earliest.
func (p *scanPart) merge(st *envelope.Status) {
	p.attempts = max(p.attempts, st.Attempts)
	if st.Cause != cause.None {
		p.cause = st.Cause
	}
	if st.State != envelope.Queued {
		return
	}
	if !p.queued || st.NextAttempt.Before(p.due) {
		p.due = st.NextAttempt
	}
	p.queued = true
}

func (q *Queue) enterScanned(e *Entry, p *scanPart, wall time.Time, now int64) int {
	h := q.hopOf(p.hop)
	if q.stopping || q.t.find(e.ID, h.index) != 0 {
		return 0
	}
	r := q.enter(e.ID, h)
	if r == 0 {
		return 0
	}
	it := q.t.at(r)
	it.arrival, it.size = seconds(e.Arrival), kib(e.Size)
	it.tenant, it.cause = q.tenantOf(e.Tenant), p.cause
	it.attempts = uint16(min(p.attempts, 1<<16-1))
	switch wait := p.due.Sub(wall); {
	case !p.queued:
		it.phase = held
	case wait <= 0:
		q.makeReady(r)
		q.pump(h, now)
	default: // a wall that was set back must not make mail wait for years
		longest := q.cfg.Backoff[len(q.cfg.Backoff)-1]
		q.makeWaiting(r, now+int64(min(wait, longest+longest/4)))
	}
	return 1
}

// sweep looks at the clock, ends items whose time is over and that no attempt
// will end (their next hop is down), and forgets next hops without any mail.
func (q *Queue) sweep() {
	_, before := q.guard.state()
	wall := q.cfg.Clock()
	calm := q.guard.calm(wall)
	if calm == before {
		jump, _ := q.guard.state()
		q.sayClock(jump, !calm)
	}
	expired := q.collect(wall, calm)
	for i := range expired {
		q.expire(&expired[i])
	}
	q.reap()
}

// collect walks the table and takes expired items of next hops that are down.
func (q *Queue) collect(wall time.Time, calm bool) []job {
	var out []job
	if !calm {
		return nil
	}
	last := seconds(wall.Add(-q.cfg.Expiry))
	for from := uint32(1); ; from += sweepItems {
		q.mu.Lock()
		for r := from; r < min(q.t.used, from+sweepItems) && len(out) < expireAtOnce; r++ {
			it := q.t.at(r)
			if it.phase != ready || it.arrival == 0 || it.arrival > last || q.stopping {
				continue
			}
			h := q.hops[it.hop]
			if !h.down {
				continue
			}
			q.t.unlink(&h.ready, r)
			it.phase = active
			h.busy++
			out = append(out, job{ref: r, id: it.id, attempts: int(it.attempts)})
		}
		done := from+sweepItems >= q.t.used || len(out) == expireAtOnce
		q.mu.Unlock()
		if done {
			return out
		}
	}
}

// expire ends an item without another attempt.
func (q *Queue) expire(j *job) {
	q.mu.Lock()
	h := q.hops[q.t.at(j.ref).hop]
	q.mu.Unlock()
	l := &lane{hop: h}
	res := q.giveUp(l, j)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(h, j, &res, q.mono())
	q.pump(h, q.mono())
}

func (q *Queue) giveUp(l *lane, j *job) result {
	if !q.claims.take(q.cfg.Store, j.id) {
		return q.unclaimable(j)
	}
	defer q.claims.give(q.cfg.Store, j.id)
	moved, res, ok := q.load(l, j)
	if !ok {
		res.moved = moved
		return res
	}
	ended := make([]envelope.Change, 0, len(j.rcpts))
	for _, i := range j.rcpts {
		ended = append(ended, envelope.Change{ID: j.id, Recipient: i, To: envelope.Bounced, Cause: cause.Expired})
	}
	q.counter.expired.Add(int64(len(ended)))
	res = result{moved: moved}
	if !q.report(j, ended) {
		res.fate, res.wait, res.cause = fateWaits, q.cfg.step(q.cfg.Backoff, 1), cause.LocalIO
	}
	return res
}

// reap forgets next hops that have neither items nor lanes, once nothing that
// was learned of them still counts.
func (q *Queue) reap() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.mono()
	for _, h := range q.hops {
		if h == nil || h.items > 0 || h.lanes > 0 || h.queued != notInRing || h.alarm >= 0 || (h.down && now < h.until) {
			continue
		}
		if h.known && now-h.heard < knownFor && len(q.byKey) <= knownHops {
			continue
		}
		delete(q.byKey, h.route.Key)
		q.hops[h.index] = nil
		q.unused = append(q.unused, h.index)
	}
}
