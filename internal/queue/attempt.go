package queue

import (
	"errors"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/telemetry"
)

// maxRecipients is how many recipients one transaction carries. RFC 5321
// section 4.5.3.1.8 makes every server take 100.
const maxRecipients = 100

// reportTries is how often a report is tried before its recipients go back to
// wait. Chosen: a disk that is full for hours must not hold lanes.
const reportTries = 3

// fate is what becomes of an item after an attempt.
type fate uint8

const (
	fateEnded fate = iota // nothing of it is left to do
	fateWaits
	fateHeld
)

// site is what an attempt says of the whole next hop.
type site uint8

const (
	siteUnknown site = iota
	siteUp
	siteDown
)

// result is what attempt tells the scheduler.
type result struct {
	fate      fate
	wait      time.Duration // fateWaits
	counted   bool          // fateWaits: an attempt was made
	cause     cause.Cause   // None: no news
	reply     string        // the peer's last negative words, one line
	site      site
	delivered bool // something was
	panicked  bool // the lane must end
	moved     []part
}

// attempt makes one attempt at an item and makes lasting what came of it.
func (q *Queue) attempt(l *lane, j *job) (res result) {
	if !q.claims.take(q.cfg.Store, j.id) {
		return q.unclaimable(j)
	}
	defer q.claims.give(q.cfg.Store, j.id)
	l.delivered = false
	defer func() {
		if p := recover(); p != nil {
			res = q.afterPanic(l, j, p)
		}
	}()
	telemetry.FailPoint("queue.claimed")
	moved, res, ok := q.load(l, j)
	if !ok {
		res.moved = moved
		return res
	}
	content, err := q.cfg.Store.Content(j.id)
	if err != nil {
		return q.unreadable(j, err)
	}
	began := q.cfg.Clock()
	if l.out == nil {
		l.out = q.cfg.Transport.Lane(l.hop.route)
	}
	outcomes := q.deliver(l, j, content)
	if err := content.Close(); err != nil {
		q.sayClose(j.id, err)
	}
	res = q.conclude(l, j, outcomes)
	res.moved = moved
	q.sayAttempt(l.hop.route.Key, j, began, outcomes)
	return res
}

// unclaimable decides about an item whose message can't be claimed: it ended,
// or another (an operator's command) works on it.
func (q *Queue) unclaimable(j *job) result {
	if _, _, err := q.cfg.Store.Envelope(j.id); errors.Is(err, ErrGone) {
		return result{fate: fateEnded}
	}
	return result{fate: fateWaits, wait: time.Second}
}

// load fills in the job's envelope and recipients. It is false when there is
// nothing to try; res says what to do instead.
func (q *Queue) load(l *lane, j *job) (moved []part, res result, ok bool) {
	if j.env != nil {
		return nil, res, true
	}
	env, statuses, err := q.cfg.Store.Envelope(j.id)
	if err != nil {
		return nil, q.unreadable(j, err), false
	}
	j.env = env
	queued := func(i int) bool { return i < len(statuses) && statuses[i].State == envelope.Queued }
	key := l.hop.route.Key
	for _, p := range q.split(env, queued) {
		if p.hop.Key == key {
			j.rcpts = p.rcpts
		} else {
			moved = append(moved, p)
		}
	}
	if len(j.rcpts) > 0 {
		return moved, res, true
	}
	for i := range statuses {
		if statuses[i].State == envelope.Held {
			return moved, result{fate: fateHeld, cause: statuses[i].Cause}, false
		}
	}
	return moved, result{fate: fateEnded}, false
}

// unreadable decides about a message that the store can't read: it ended, it
// is damaged (held: trying again would not help, and a person must see it), or
// the disk did not answer (tried again).
func (q *Queue) unreadable(j *job, err error) result {
	switch {
	case errors.Is(err, ErrGone):
		return result{fate: fateEnded}
	case errors.Is(err, ErrDamaged):
		q.counter.damaged.Add(1)
		q.sayDamaged(j.id, err)
		q.hold(j, cause.LocalDamage)
		return result{fate: fateHeld, cause: cause.LocalDamage}
	default:
		q.sayUnreadable(j.id, err)
		return result{fate: fateWaits, wait: q.cfg.step(q.cfg.Backoff, 1), cause: cause.LocalIO}
	}
}

// hold makes the job's recipients Held, as far as they are known.
func (q *Queue) hold(j *job, why cause.Cause) {
	changes := make([]envelope.Change, 0, len(j.rcpts))
	for _, i := range j.rcpts {
		changes = append(changes, envelope.Change{ID: j.id, Recipient: i, To: envelope.Held, Cause: why})
	}
	if len(changes) > 0 {
		q.apply(j.id, changes, false)
	}
}
