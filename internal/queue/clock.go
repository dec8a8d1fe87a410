package queue

import (
	"container/heap"
	"time"
)

// fireItems is how many due items are moved before the mutex is let go.
// Chosen: well below a millisecond.
const fireItems = 256

// runClock moves items from waiting to ready when they are due, and lets next
// hops that are down have their probe. It sleeps until the earliest of them.
func (q *Queue) runClock() {
	defer q.wg.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-q.quit:
			return
		case <-q.nudge:
		case <-timer.C:
		}
		next := time.Second // should fire panic
		q.guarded(func() { next = q.fire() })
		timer.Reset(next)
	}
}

// fire does what is due and returns the time until there is more to do.
func (q *Queue) fire() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.mono()
	for n := 0; len(q.t.heap) > 0; n++ {
		r := q.t.heap[0]
		it := q.t.at(r)
		if it.due > now {
			break
		}
		if n == fireItems {
			return 0
		}
		q.t.pull(r)
		q.makeReady(r)
		q.pump(q.hops[it.hop], now)
	}
	for len(q.alarms) > 0 && q.alarms[0].until <= now {
		h := q.alarms[0]
		heap.Pop(&q.alarms)
		if h.down && !h.probing {
			q.pump(h, now)
		}
	}
	q.wakeAt = now + int64(time.Minute)
	if len(q.t.heap) > 0 {
		q.wakeAt = min(q.wakeAt, q.t.at(q.t.heap[0]).due)
	}
	if len(q.alarms) > 0 {
		q.wakeAt = min(q.wakeAt, q.alarms[0].until)
	}
	return time.Duration(q.wakeAt - now)
}

// setAlarm has the clock goroutine look at h when its next probe may go. It
// does nothing when a probe is under way or nothing is ready.
func (q *Queue) setAlarm(h *hop) {
	if !h.down || h.probing || h.ready.n == 0 {
		return
	}
	if h.alarm >= 0 {
		heap.Fix(&q.alarms, h.alarm)
	} else {
		heap.Push(&q.alarms, h)
	}
	if h.until < q.wakeAt {
		q.wakeClock()
	}
}
