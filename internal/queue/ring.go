package queue

// strangeShare is the part of all lanes, one in so many, that next hops have
// together that are not known to answer. Chosen: half. A next hop that does
// not answer holds a lane for as long as RFC 5321 section 4.5.3.2 lets it, and
// without this bound a few dozen of them would hold all lanes for minutes.
const strangeShare = 2

// The hour for which a quiet next hop that answered stays known, and how many
// such next hops are kept (about 300 octets each). Chosen.
const (
	knownFor  = int64(3600 * 1e9)
	knownHops = 10_000
)

// ring is the next hops that want a lane and can't have one yet: those that
// are known to answer, and strangers. Each is served in turn, and one of the
// one and one of the other.
type ring struct {
	known, strange []*hop
	lastKnown      bool // a known one was served last
}

// inRing is where a hop waits. An entry of a list that says otherwise is old
// and is passed over.
type inRing uint8

const (
	notInRing inRing = iota
	amongKnown
	amongStrange
)

func (r *ring) n() int { return len(r.known) + len(r.strange) }

func (r *ring) add(h *hop) {
	if h.known {
		h.queued = amongKnown
		r.known = append(r.known, h)
	} else {
		h.queued = amongStrange
		r.strange = append(r.strange, h)
	}
}

// take returns the next hop to serve, nil when there is none. Strangers are
// left where they are when room is false.
func (r *ring) take(room bool) *hop {
	for len(r.known) > 0 || room && len(r.strange) > 0 {
		list, kind := &r.known, amongKnown
		if len(r.known) == 0 || r.lastKnown && room && len(r.strange) > 0 {
			list, kind = &r.strange, amongStrange
		}
		h := (*list)[0]
		(*list)[0] = nil
		*list = (*list)[1:]
		if h.queued != kind {
			continue
		}
		h.queued = notInRing
		r.lastKnown = kind == amongKnown
		return h
	}
	return nil
}

// hasRoom reports whether one more lane may be opened for h.
func (q *Queue) hasRoom(h *hop) bool {
	return q.lanes < q.cfg.MaxLanes && (h.known || q.strangersHaveRoom())
}

func (q *Queue) strangersHaveRoom() bool { return q.strange < max(1, q.cfg.MaxLanes/strangeShare) }

// know notes whether h is known to answer.
func (q *Queue) know(h *hop, known bool, now int64) {
	if h.known == known {
		return
	}
	h.known = known
	if !known {
		q.strange += h.lanes
		return
	}
	q.strange -= h.lanes
	if h.queued == amongStrange {
		q.ring.add(h) // among the known from now on
	}
	if q.ring.n() > 0 {
		q.serveRing(now) // its lanes count no more among those of strangers
	}
}

// shouldYield says that l should give its place to a next hop that has none
// or few: when its own has more than an equal share, or after its turn.
func (q *Queue) shouldYield(l *lane) bool {
	if len(q.ring.known) == 0 && (len(q.ring.strange) == 0 || l.hop.known && !q.strangersHaveRoom()) {
		return false // nobody waits to whom the place would help
	}
	share := max(1, q.cfg.MaxLanes/(q.hopsBusy+1))
	return l.hop.ready.n == 0 || l.hop.lanes > share || l.turn >= turnItems
}

// enring notes that h wants a lane and can't have one yet.
func (q *Queue) enring(h *hop) {
	if h.queued == notInRing {
		q.ring.add(h)
	}
}

// serveRing opens lanes for those that wait for one, one each in turn.
func (q *Queue) serveRing(now int64) {
	for q.lanes < q.cfg.MaxLanes && !q.stopping {
		h := q.ring.take(q.strangersHaveRoom())
		if h == nil {
			return
		}
		if h.ready.n == 0 || h.blocked(now) || h.lanes >= h.allowed() {
			continue
		}
		if !q.hasRoom(h) { // it was known when it came
			q.ring.add(h)
			continue
		}
		q.open(h, now)
		if h.ready.n > 0 && h.lanes < h.allowed() && !h.blocked(now) {
			q.enring(h)
		}
	}
}
