package dns

import (
	"net/netip"
	"time"
)

// question is the key of the cache and of open questions.
type question struct {
	name  string // normalName
	qtype uint16
}

// records is a positive answer. Its slices are never changed after it was
// made, so that callers may share it.
type records struct {
	mx        []MX
	addrs     []netip.Addr
	authentic bool
	at        time.Time
	until     time.Time
}

// entry is what is remembered of one question: the last records, and a later
// refusal if there was one. The records outlive their TTL and the refusal, so
// that they can be served stale and so that Error.LastGood can be told.
type entry struct {
	good     *records
	bad      *Error
	badUntil time.Time
}

// forgettable is the time after which the entry is of no use.
func (e *entry) forgettable(staleFor time.Duration) time.Time {
	if e.good != nil {
		return e.good.at.Add(staleFor)
	}
	return e.badUntil
}

// cache is a bounded map; the Client's mutex guards it.
type cache struct {
	max      int
	staleFor time.Duration
	m        map[question]*entry
}

func newCache(max int, staleFor time.Duration) cache {
	return cache{max: max, staleFor: staleFor, m: make(map[question]*entry)}
}

// result is what a question came to. Exactly one of good and bad is set.
type result struct {
	good  *records
	stale bool
	bad   *Error
}

// fresh returns what may be answered without asking.
func (c *cache) fresh(q question, now time.Time) (result, bool) {
	e := c.m[q]
	if e == nil {
		return result{}, false
	}
	if e.bad != nil && now.Before(e.badUntil) {
		return c.refusal(e, now), true
	}
	if e.good != nil && e.bad == nil && now.Before(e.good.until) {
		return result{good: e.good}, true
	}
	return result{}, false
}

// refusal turns e.bad into a result: where nothing could be asked, what was
// known before is better than nothing (RFC 8767 section 4).
func (c *cache) refusal(e *entry, now time.Time) result {
	if e.bad.Kind == CouldNotAsk && e.good != nil && now.Before(e.good.at.Add(c.staleFor)) {
		return result{good: e.good, stale: true}
	}
	return result{bad: e.bad}
}

// keep remembers what an upstream said (or that none did) and returns what the
// caller gets.
func (c *cache) keep(q question, good *records, bad *Error, badFor time.Duration, now time.Time) result {
	e := c.m[q]
	if e == nil {
		c.makeRoom(now)
		e = &entry{}
		c.m[q] = e
	}
	if good != nil {
		e.good, e.bad = good, nil
		return result{good: good}
	}
	if e.good != nil {
		bad.LastGood = e.good.at
	}
	e.bad, e.badUntil = bad, now.Add(badFor)
	return c.refusal(e, now)
}

// makeRoom drops an entry when the cache is full: the first forgettable one of
// 16 that map order deals out, or else the one of them that will be so first.
func (c *cache) makeRoom(now time.Time) {
	if len(c.m) < c.max {
		return
	}
	var worst question
	var worstAt time.Time
	n := 0
	for q, e := range c.m {
		at := e.forgettable(c.staleFor)
		if n == 0 || at.Before(worstAt) {
			worst, worstAt = q, at
		}
		if n++; n == 16 || !at.After(now) {
			break
		}
	}
	delete(c.m, worst)
}
