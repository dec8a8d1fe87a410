package queue

import (
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
)

// deliver hands the job to the lane's connection, in transactions of at most
// maxRecipients, and returns one outcome for each recipient. Recipients that a
// peer puts off because they are too many for one transaction (452, RFC 5321
// section 4.5.3.1.10) are tried again at once, as long as others get through.
func (q *Queue) deliver(l *lane, j *job, content Content) []envelope.Outcome {
	var all []envelope.Outcome
	size := content.Size()
	for rest := j.rcpts; len(rest) > 0; {
		batch := rest[:min(len(rest), maxRecipients)]
		rest = rest[len(batch):]
		got := q.checked(l.out.Deliver(q.ctx, j.env, batch, content, size), batch)
		if len(batch) == len(j.rcpts) && !tooMany(got) {
			return got
		}
		again := tooMany(got)
		for _, o := range got {
			if again && isTooMany(&o) {
				rest = append(rest[:len(rest):len(rest)], o.Recipient)
			} else {
				all = append(all, o)
			}
		}
		switch at := firstDown(got); {
		case at >= 0:
			return putOff(all, rest, got[at].Attempt, true)
		case q.ctx.Err() != nil:
			why := envelope.Attempt{Time: q.cfg.Clock(), NextHop: l.hop.route.Key, Cause: cause.LocalShutdown}
			return putOff(all, rest, why, false)
		}
	}
	return all
}

// putOff adds outcomes for recipients whose turn did not come.
func putOff(all []envelope.Outcome, rest []int, why envelope.Attempt, down bool) []envelope.Outcome {
	for _, i := range rest {
		all = append(all, envelope.Outcome{Recipient: i, Verdict: envelope.AdviceDefer, Attempt: why, SiteDown: down})
	}
	return all
}

func firstDown(got []envelope.Outcome) int {
	for i := range got {
		if got[i].SiteDown {
			return i
		}
	}
	return -1
}

// tooMany reports whether the peer took some recipients and put others off
// because of their number.
func tooMany(got []envelope.Outcome) bool {
	if len(got) < 2 {
		return false
	}
	taken, off := false, false
	for i := range got {
		taken = taken || got[i].Verdict == envelope.AdviceDelivered
		off = off || isTooMany(&got[i])
	}
	return taken && off
}

// isTooMany reports whether the peer put a recipient off because of their
// number: 452, or 552 from older servers (RFC 5321 section 4.5.3.1.10).
func isTooMany(o *envelope.Outcome) bool {
	return o.Verdict == envelope.AdviceDefer && o.Attempt.Cause == cause.PeerRcpt4xx &&
		(o.Attempt.Reply.Code == 452 || o.Attempt.Reply.Code == 552)
}

// checked makes sure that there is exactly one usable outcome for each
// recipient: a transport that breaks its promise defers, it does not lose.
func (q *Queue) checked(got []envelope.Outcome, rcpts []int) []envelope.Outcome {
	good := len(got) == len(rcpts)
	for i := 0; good && i < len(got); i++ {
		good = got[i].Recipient == rcpts[i] && got[i].Verdict != 0
	}
	if good {
		return got
	}
	out := make([]envelope.Outcome, 0, len(rcpts))
next:
	for _, r := range rcpts {
		for i := range got {
			if got[i].Recipient == r && got[i].Verdict != 0 {
				out = append(out, got[i])
				continue next
			}
		}
		q.counter.defects.Add(1)
		out = append(out, envelope.Outcome{Recipient: r, Verdict: envelope.AdviceDefer, Attempt: envelope.Attempt{
			Time: q.cfg.Clock(), Cause: cause.LocalInternal, Detail: "the transport gave no outcome",
		}})
	}
	return out
}

// afterPanic decides about a message whose attempt ended in a panic. One of
// which something was delivered already is not tried again while the process
// lives: its outcome may not be written.
func (q *Queue) afterPanic(l *lane, j *job, p any) result {
	q.counter.panics.Add(1)
	q.sayPanic(j.id, l.hop.route.Key, p)
	res := result{fate: fateHeld, cause: cause.LocalInternal, panicked: true}
	if l.delivered {
		return res
	}
	q.mu.Lock()
	before := q.panics[j.ref]
	q.mu.Unlock()
	if before+1 < q.cfg.PanicLimit {
		res.fate, res.wait, res.counted = fateWaits, q.cfg.step(q.cfg.Backoff, j.attempts+1), true
		return res
	}
	q.hold(j, cause.LocalInternal)
	return res
}

// expires reports whether a message that arrived then has been tried long
// enough, by a clock that can be trusted.
func (q *Queue) expires(arrival, now time.Time) bool {
	return !arrival.IsZero() && now.Sub(arrival) >= q.cfg.Expiry && q.guard.calm(now)
}
