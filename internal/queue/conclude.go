package queue

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/telemetry"
)

// applyRetryMax is the longest wait between tries to write a change. Chosen:
// short, because lanes stand still meanwhile.
const applyRetryMax = 5 * time.Second

// conclude turns outcomes into changes, makes them lasting, and says when the
// item is due again.
func (q *Queue) conclude(l *lane, j *job, outcomes []envelope.Outcome) result {
	now := q.cfg.Clock()
	res := result{site: siteUnknown, counted: true}
	wait := q.cfg.step(q.cfg.Backoff, j.attempts+1)
	if left := j.env.Arrival.Time.Add(q.cfg.Expiry).Sub(now); left > 0 && left < wait {
		wait = left // a last attempt at the end, then it expires
	}
	changes := l.changes[:0]
	var ended []envelope.Change
	cut := false
	for i := range outcomes {
		o := &outcomes[i]
		res.observe(o)
		c := envelope.Change{ID: j.id, Recipient: o.Recipient, Cause: o.Attempt.Cause, Attempt: &o.Attempt}
		switch {
		case o.Verdict == envelope.AdviceDelivered:
			c.To, c.Cause = envelope.Delivered, cause.None
			res.delivered, l.delivered = true, true
			if o.Relayed && j.env.Forward[o.Recipient].Params.Notify&smtp.NotifySuccess != 0 {
				ended = append(ended, c)
				continue
			}
		case o.Verdict == envelope.AdviceFail:
			c.To = envelope.Bounced
			ended = append(ended, c)
			continue
		case o.Attempt.Cause == cause.LocalShutdown && q.isStopping():
			cut = true // the store stays as it is
			continue
		case o.Attempt.Cause == cause.LocalDamage:
			c.To = envelope.Held // trying again would not help, and a person must see it
			if res.fate == fateEnded {
				res.fate = fateHeld
			}
		case q.expires(j.env.Arrival.Time, now):
			c.To, c.Cause = envelope.Bounced, cause.Expired
			ended = append(ended, c)
			continue
		default:
			c.To, c.NextAttempt = envelope.Queued, now.Add(wait)
			res.fate, res.wait = fateWaits, wait
		}
		changes = append(changes, c)
	}
	q.counter.count(outcomes)
	l.changes = changes[:0]
	q.commit(j, changes, ended, &res)
	if cut && res.fate == fateEnded {
		res.fate, res.wait, res.counted = fateWaits, wait, false
	}
	return res
}

func (q *Queue) isStopping() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stopping
}

// observe notes what one outcome says of the next hop.
func (r *result) observe(o *envelope.Outcome) {
	if o.Verdict != envelope.AdviceDelivered {
		r.cause = o.Attempt.Cause
		if !o.Attempt.Reply.IsZero() {
			r.reply = oneLine(o.Attempt.Reply)
		}
	}
	switch {
	case o.SiteDown:
		r.site = siteDown
	case r.site == siteUnknown && (o.Verdict == envelope.AdviceDelivered || !o.Attempt.Reply.IsZero()):
		r.site = siteUp
	}
}

// commit makes the changes lasting: first those that end or move recipients
// by themselves, then those that a report goes with.
func (q *Queue) commit(j *job, changes, ended []envelope.Change, res *result) {
	telemetry.FailPoint("queue.before-change")
	if len(changes) > 0 {
		q.apply(j.id, changes, res.delivered)
	}
	if len(ended) > 0 && !q.report(j, ended) {
		res.fate, res.cause = fateWaits, cause.LocalIO
		if res.wait == 0 {
			res.wait = q.cfg.step(q.cfg.Backoff, 1)
		}
	}
	telemetry.FailPoint("queue.after-change")
}

// apply writes changes. When they hold a delivery it tries until it succeeds
// or Stop cuts it: the outcome is in memory here and nowhere else, and an item
// whose outcome is not written must not be tried again. The lane stands still
// meanwhile, so no more than MaxLanes such outcomes exist.
func (q *Queue) apply(id envelope.ID, changes []envelope.Change, delivered bool) bool {
	wait := q.cfg.ApplyRetry
	for try := 1; ; try++ {
		err := q.cfg.Store.Apply(context.Background(), changes)
		if err == nil || errors.Is(err, ErrGone) {
			if delivered && try > 1 {
				q.counter.unwritten.Add(-1)
				q.sayWrittenAtLast(id, try)
			}
			return true
		}
		q.counter.applyFailed.Add(1)
		if !delivered {
			q.sayNotWritten(id, try, err, false)
			return false
		}
		if try == 1 {
			q.counter.unwritten.Add(1)
		}
		q.sayNotWritten(id, try, err, true)
		if !q.pause(wait) {
			q.sayOutcomeLost(id)
			return false
		}
		wait = min(2*wait, applyRetryMax)
	}
}

// pause waits, and reports whether the queue was not cut meanwhile.
func (q *Queue) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-q.ctx.Done():
		return false
	}
}

// report hands recipients that ended to Config.Report. When that can't be
// made to work, deliveries are written without their report, and the others
// stay queued (false): their next hop will refuse them again.
func (q *Queue) report(j *job, ended []envelope.Change) bool {
	if q.cfg.Report == nil {
		for i := range ended {
			if ended[i].To == envelope.Bounced {
				ended[i].To = envelope.DSNSuppressed
			}
		}
		return q.apply(j.id, ended, true)
	}
	wait := q.cfg.ApplyRetry
	for try := 1; ; try++ {
		err := q.cfg.Report(context.Background(), j.env, ended)
		if err == nil || errors.Is(err, ErrGone) {
			return true
		}
		q.counter.reportFailed.Add(1)
		q.sayNotReported(j.id, try, err)
		if try == reportTries || !q.pause(wait) {
			break
		}
		wait = min(2*wait, applyRetryMax)
	}
	plain := ended[:0]
	left := false
	for _, c := range ended {
		if c.To == envelope.Delivered {
			plain = append(plain, c)
		} else {
			left = true
		}
	}
	if len(plain) > 0 {
		q.apply(j.id, plain, true)
	}
	return !left
}
