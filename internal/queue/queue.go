package queue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/tenant"
)

// Queue schedules what the spool holds. All methods are safe for concurrent
// use.
type Queue struct {
	cfg     Config
	log     *slog.Logger
	epoch   time.Time // with the monotonic reading: item.due counts from here
	born    envelope.ID
	guard   wallGuard
	claims  claims
	counter counters

	ctx     context.Context // ends when Stop's patience does: cuts deliveries
	cut     context.CancelFunc
	quit    chan struct{} // closed by Stop: goroutines that wait end
	nudge   chan struct{} // capacity 1: the clock goroutine should look again
	reroute chan struct{} // capacity 1: the keeper should follow Route
	wg      sync.WaitGroup
	start   sync.Once
	finish  sync.Once

	mu       sync.Mutex // below everything else: no call out while it is held
	t        *table
	hops     []*hop // by hop.index; nil where unused; 0 is never used
	unused   []uint32
	byKey    map[string]*hop
	tenants  []string
	tenantNo map[string]uint32
	fresh    []fresh
	spare    []uint32 // unused slots of fresh
	panics   map[ref]int
	repaired [2]map[envelope.ID]struct{} // found by the newest repair scan and the one before
	alarms   alarms
	wakeAt   int64 // when the clock goroutine will look by itself
	stopping bool
	loaded   bool // the start scan is through

	lanes    int
	evicting int     // idle lanes told to end and not ended yet
	hopsBusy int     // next hops with at least one lane
	strange  int     // lanes of next hops that are not known to answer
	ring     ring    // want a lane and can't have one yet
	idle     laneAge // idle lanes of all next hops, oldest first
}

// fresh is what Offer knows, kept until the first attempt.
type fresh struct {
	env   *envelope.Envelope
	rcpts []int
}

// New makes a Queue. It must be called before anything can be committed to the
// store by this process (doors open later), because it marks what is older:
// that is read back by Start, and what is younger comes by Offer.
func New(cfg Config) (*Queue, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	q := &Queue{
		cfg:      cfg,
		log:      cfg.Logger,
		epoch:    time.Now(), // for intervals only; wall time is cfg.Clock's
		born:     cfg.Store.Mark(),
		quit:     make(chan struct{}),
		nudge:    make(chan struct{}, 1),
		reroute:  make(chan struct{}, 1),
		t:        newTable(),
		hops:     make([]*hop, 1),
		byKey:    map[string]*hop{},
		tenantNo: map[string]uint32{},
		panics:   map[ref]int{},
	}
	q.claims.held = map[envelope.ID]int{}
	q.repaired[0] = map[envelope.ID]struct{}{}
	q.ctx, q.cut = context.WithCancel(context.Background())
	q.guard.begin(cfg.Clock(), q.epoch, cfg.LastSeen)
	if err := q.counter.register(cfg.Metrics, q); err != nil {
		return nil, fmt.Errorf("queue metrics: %w", err)
	}
	return q, nil
}

// Start begins to read back what the store holds and to deliver. It returns at
// once; fresh mail is served from now on.
func (q *Queue) Start() {
	q.start.Do(func() {
		q.wg.Add(2)
		go q.runClock()
		go q.runKeeper()
	})
}

// Stop ends the queue: nothing new is attempted, Halt is called, attempts under
// way may end until ctx does and are cut then. What was not delivered stays in the store
// as it was. The error says that attempts did not end within 5 s of being cut.
func (q *Queue) Stop(ctx context.Context) error {
	q.finish.Do(func() {
		q.mu.Lock()
		q.stopping = true
		for l := q.idle.oldest; l != nil; l = q.idle.oldest {
			q.wakeIdle(l, job{retire: true})
		}
		q.mu.Unlock()
		close(q.quit)
		if q.cfg.Halt != nil {
			q.cfg.Halt()
		}
	})
	defer q.cut()
	done := make(chan struct{})
	go func() { q.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	q.cut()
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	select {
	case <-done:
		return nil
	case <-patience.C:
		return fmt.Errorf("stop queue: %w, and attempts did not end when cut", ctx.Err())
	}
}

// mono is the time now as item.due counts it.
func (q *Queue) mono() int64 { return int64(time.Since(q.epoch)) }

// Offer tells the queue of a message that was just committed. It never waits
// and never fails: what it can't take is found by a repair scan. env must not
// change afterwards; the queue may keep it until the first attempt.
func (q *Queue) Offer(env *envelope.Envelope) {
	if len(env.Forward) == 1 {
		hop := q.cfg.Route(env.Tenant, domainKey(env.Forward[0].Path))
		q.mu.Lock()
		q.offer(env, hop, oneRecipient)
		q.mu.Unlock()
		return
	}
	parts := q.split(env, nil)
	q.mu.Lock()
	for _, p := range parts {
		q.offer(env, p.hop, p.rcpts)
	}
	q.mu.Unlock()
}

var oneRecipient = []int{0}

// part is the recipients of one message that share a next hop.
type part struct {
	hop   tenant.NextHop
	rcpts []int
}

// split groups the recipients of env by next hop; those that want leaves out
// are left out.
func (q *Queue) split(env *envelope.Envelope, want func(i int) bool) []part {
	var parts []part
next:
	for i := range env.Forward {
		if want != nil && !want(i) {
			continue
		}
		hop := q.cfg.Route(env.Tenant, domainKey(env.Forward[i].Path))
		for k := range parts {
			if parts[k].hop.Key == hop.Key {
				parts[k].rcpts = append(parts[k].rcpts, i)
				continue next
			}
		}
		parts = append(parts, part{hop, []int{i}})
	}
	return parts
}

// offer enters one part of a fresh message. The mutex is held.
func (q *Queue) offer(env *envelope.Envelope, route tenant.NextHop, rcpts []int) {
	if q.stopping {
		return
	}
	h := q.hopOf(route)
	if q.t.find(env.ID, h.index) != 0 {
		return // a scan was faster; its item reads the statuses itself
	}
	r := q.enter(env.ID, h)
	if r == 0 {
		return
	}
	it := q.t.at(r)
	it.arrival, it.size = seconds(env.Arrival.Time), kib(env.Size)
	it.tenant = q.tenantOf(env.Tenant)
	if !h.down && h.ready.n < q.cfg.MaxFresh/4 && !q.wasRepaired(env.ID) {
		it.fresh = q.keepFresh(env, rcpts)
	}
	q.makeReady(r)
	q.pump(h, q.mono())
}

// enter makes an item of a bounded number, or returns 0.
func (q *Queue) enter(id envelope.ID, h *hop) ref {
	if q.t.count >= q.cfg.MaxItems {
		q.counter.shed.Add(1)
		return 0
	}
	h.items++
	return q.t.add(id, h.index)
}

// wasRepaired reports whether a repair scan entered id lately. Its parts may
// have been delivered since, so the statuses must be read.
func (q *Queue) wasRepaired(id envelope.ID) bool {
	for _, m := range q.repaired {
		if _, ok := m[id]; ok {
			return true
		}
	}
	return false
}

// keepFresh stores what Offer knows; 0 when there is no room. Mail that will
// not be tried soon (its next hop is down, or has a quarter of the room in
// front of it) is not given any.
func (q *Queue) keepFresh(env *envelope.Envelope, rcpts []int) uint32 {
	if n := len(q.spare); n > 0 {
		slot := q.spare[n-1]
		q.spare = q.spare[:n-1]
		q.fresh[slot] = fresh{env, rcpts}
		return slot + 1
	}
	if len(q.fresh) >= q.cfg.MaxFresh {
		return 0
	}
	q.fresh = append(q.fresh, fresh{env, rcpts})
	return uint32(len(q.fresh))
}

func (q *Queue) takeFresh(it *item) fresh {
	if it.fresh == 0 {
		return fresh{}
	}
	slot := it.fresh - 1
	f := q.fresh[slot]
	q.fresh[slot] = fresh{}
	q.spare = append(q.spare, slot)
	it.fresh = 0
	return f
}

// hopOf returns the hop of a route, making it when needed.
func (q *Queue) hopOf(route tenant.NextHop) *hop {
	if h := q.byKey[route.Key]; h != nil {
		return h
	}
	h := &hop{alarm: -1, window: startWindow}
	h.setRoute(route, q.cfg.MaxPerHop)
	if n := len(q.unused); n > 0 {
		h.index = q.unused[n-1]
		q.unused = q.unused[:n-1]
		q.hops[h.index] = h
	} else {
		h.index = uint32(len(q.hops))
		q.hops = append(q.hops, h)
	}
	q.byKey[route.Key] = h
	return h
}

func (q *Queue) tenantOf(id string) uint32 {
	if n, ok := q.tenantNo[id]; ok {
		return n
	}
	n := uint32(len(q.tenants))
	q.tenants = append(q.tenants, id)
	q.tenantNo[id] = n
	return n
}

// makeReady puts an item that is in neither heap nor list at the end of its
// next hop's list.
func (q *Queue) makeReady(r ref) {
	it := q.t.at(r)
	it.phase = ready
	q.t.link(&q.hops[it.hop].ready, r)
}

// makeWaiting puts an item that is in neither heap nor list into the heap.
func (q *Queue) makeWaiting(r ref, due int64) {
	it := q.t.at(r)
	it.phase, it.due = waiting, due
	if q.t.push(r) && due < q.wakeAt {
		q.wakeClock()
	}
}

func (q *Queue) wakeClock() {
	select {
	case q.nudge <- struct{}{}:
	default: // a nudge is on its way
	}
}

// drop forgets an active item, and its hop's count of it.
func (q *Queue) drop(r ref) {
	it := q.t.at(r)
	q.takeFresh(it)
	q.hops[it.hop].items--
	delete(q.panics, r)
	q.t.remove(r)
}

func seconds(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(min(max(t.Unix(), 0), 1<<32-1))
}

func kib(octets int64) uint32 { return uint32(min((octets+1023)>>10, 1<<32-1)) }
