package queue

import "github.com/postern-mail/postern/internal/envelope"

// Rerouted tells the queue that Route may answer otherwise from now on. Mail
// that waits for a next hop that its recipients do not go to any more is tried
// at its new one soon, and not only when its next attempt is due: whoever
// mends a route waits for that mail. It never waits.
func (q *Queue) Rerouted() {
	select {
	case q.reroute <- struct{}{}:
	default: // one is on its way
	}
}

// followRoutes moves what waits to where Route sends it now. What is being
// attempted is left alone: it follows at its next attempt.
func (q *Queue) followRoutes() {
	q.walk(func(_ ref, it *item) { q.takeFresh(it) }) // attempts of fresh mail do not ask Route
	moved := 0
	q.cfg.Store.Live(func(e Entry) bool {
		select {
		case <-q.quit:
			return false
		default:
		}
		moved += q.follow(&e)
		return true
	})
	if moved > 0 {
		q.sayMoved(moved)
	}
}

// follow moves one message's items, and returns how many it made.
func (q *Queue) follow(e *Entry) (moved int) {
	var space [4]scanPart
	parts := q.partsOf(e, space[:0])
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopping || !q.movable(e.ID) {
		return 0
	}
	now := q.mono()
	for i := range parts {
		p := &parts[i]
		if !p.queued || q.t.find(e.ID, q.hopOf(p.hop).index) != 0 {
			continue
		}
		wall := q.cfg.Clock()
		p.due = wall
		moved += q.enterScanned(e, p, wall, now)
	}
	for r := q.t.first(e.ID); r != 0; {
		next := q.t.more(r)
		if !q.isGoal(r, parts) {
			q.unhook(r)
			q.drop(r)
		}
		r = next
	}
	return moved
}

// movable reports whether the message is known and no part of it is being
// attempted: an attempt that began before may carry any of its recipients.
func (q *Queue) movable(id envelope.ID) bool {
	r := q.t.first(id)
	known := r != 0
	for ; r != 0; r = q.t.more(r) {
		if q.t.at(r).phase == active {
			return false
		}
	}
	return known
}

// isGoal reports whether any recipient still goes where item r goes.
func (q *Queue) isGoal(r ref, parts []scanPart) bool {
	it := q.t.at(r)
	if it.phase == held || it.phase == active {
		return true // not to be dropped; active: pump has just given it to a lane
	}
	for i := range parts {
		if parts[i].hop.Key == q.hops[it.hop].route.Key {
			return true
		}
	}
	return false
}

// unhook takes an item out of the heap or its next hop's list.
func (q *Queue) unhook(r ref) {
	switch it := q.t.at(r); it.phase {
	case waiting:
		q.t.pull(r)
	case ready:
		q.t.unlink(&q.hops[it.hop].ready, r)
	}
}
