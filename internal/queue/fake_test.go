package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/tenant"
)

var testInc = envelope.Incarnation{9, 9, 9}

// fakeStore keeps messages in memory and refuses what a spool would refuse.
type fakeStore struct {
	mu      sync.Mutex
	seq     uint64
	live    map[envelope.ID]*stored
	ended   map[envelope.ID]*stored
	failure error // of Apply, when not nil
	applies int
	broken  error // of Envelope and Content
	defects []string
}

type stored struct {
	env      *envelope.Envelope
	statuses []envelope.Status
	claimed  bool
	ends     []int // terminal changes by recipient
}

func newStore() *fakeStore {
	return &fakeStore{live: map[envelope.ID]*stored{}, ended: map[envelope.ID]*stored{}}
}

func (s *fakeStore) Mark() envelope.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	return envelope.NewID(testInc, s.seq)
}

// accept commits a message to the given forward-paths.
func (s *fakeStore) accept(to ...string) *envelope.Envelope {
	env := &envelope.Envelope{
		ID: s.Mark(), Tenant: "t1", Kind: envelope.Submitted,
		Reverse: smtp.Path{Local: "alice", Domain: "example.test"},
		Arrival: envelope.Arrival{Time: time.Now()}, Size: 11,
	}
	m := &stored{env: env}
	for _, a := range to {
		p, err := smtp.ParseMailbox(a)
		if err != nil {
			panic(err)
		}
		env.Forward = append(env.Forward, envelope.Recipient{Path: p})
		m.statuses = append(m.statuses, envelope.Status{State: envelope.Queued, NextAttempt: env.Arrival.Time})
		m.ends = append(m.ends, 0)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[env.ID] = m
	return env
}

func (s *fakeStore) Claim(id envelope.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.live[id]
	if m == nil || m.claimed {
		return false
	}
	m.claimed = true
	return true
}

func (s *fakeStore) Unclaim(id envelope.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.live[id]; m != nil {
		m.claimed = false
	}
}

func (s *fakeStore) Envelope(id envelope.ID) (*envelope.Envelope, []envelope.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.live[id]
	switch {
	case m == nil:
		return nil, nil, ErrGone
	case s.broken != nil:
		return nil, nil, s.broken
	}
	return m.env, slices.Clone(m.statuses), nil
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func (s *fakeStore) Content(id envelope.ID) (Content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.live[id] == nil:
		return nil, ErrGone
	case s.broken != nil:
		return nil, s.broken
	}
	return memory{bytes.NewReader([]byte("hello\r\n"))}, nil
}

func (s *fakeStore) Apply(_ context.Context, changes []envelope.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applies++
	if s.failure != nil {
		return s.failure
	}
	for _, c := range changes {
		m := s.live[c.ID]
		if m == nil {
			return ErrGone
		}
		s.change(m, c)
	}
	return nil
}

func (s *fakeStore) change(m *stored, c envelope.Change) {
	st := &m.statuses[c.Recipient]
	if st.State.Terminal() {
		s.defects = append(s.defects, "a recipient ended twice: "+c.ID.String())
	}
	st.State, st.NextAttempt, st.Cause = c.To, c.NextAttempt, c.Cause
	if c.Attempt != nil {
		st.Attempts++
	}
	if c.To.Terminal() {
		m.ends[c.Recipient]++
	}
	for i := range m.statuses {
		if !m.statuses[i].State.Terminal() {
			return
		}
	}
	delete(s.live, c.ID)
	s.ended[c.ID] = m
}

func (s *fakeStore) Live(yield func(Entry) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, m := range s.live {
		e := Entry{ID: id, Tenant: m.env.Tenant, Arrival: m.env.Arrival.Time, Size: m.env.Size}
		for i := range m.statuses {
			e.Recipients = append(e.Recipients, EntryRecipient{m.statuses[i], domainKey(m.env.Forward[i].Path)})
		}
		if !yield(e) {
			return
		}
	}
}

func (s *fakeStore) set(f func()) { s.mu.Lock(); f(); s.mu.Unlock() }

// states returns where the recipients of a message stand.
func (s *fakeStore) states(id envelope.ID) []envelope.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.live[id]
	if m == nil {
		m = s.ended[id]
	}
	var out []envelope.State
	for i := range m.statuses {
		out = append(out, m.statuses[i].State)
	}
	return out
}

func (s *fakeStore) status(id envelope.ID, i int) envelope.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.live[id]; m != nil {
		return m.statuses[i]
	}
	return s.ended[id].statuses[i]
}

// try is one call of Deliver.
type try struct {
	at    time.Time
	hop   string
	id    envelope.ID
	rcpts []int
}

// fakeNet is a Transport whose answers a test chooses.
type fakeNet struct {
	answer func(t try, env *envelope.Envelope) []envelope.Outcome
	took   time.Duration // of a Deliver

	mu      sync.Mutex
	tries   []try
	busy    map[envelope.ID]map[int]bool
	open    map[string]int // lanes by next hop
	opened  int
	most    int // lanes at once
	mostHop map[string]int
	defects []string
}

func newNet() *fakeNet {
	return &fakeNet{busy: map[envelope.ID]map[int]bool{}, open: map[string]int{}, mostHop: map[string]int{}}
}

func (n *fakeNet) Lane(hop tenant.NextHop) Lane {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.opened++
	n.open[hop.Key]++
	n.mostHop[hop.Key] = max(n.mostHop[hop.Key], n.open[hop.Key])
	total := 0
	for _, k := range n.open {
		total += k
	}
	n.most = max(n.most, total)
	return &fakeLane{n: n, hop: hop.Key}
}

type fakeLane struct {
	n   *fakeNet
	hop string
}

func (l *fakeLane) Close() {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.n.open[l.hop]--
}

func (l *fakeLane) Deliver(ctx context.Context, env *envelope.Envelope, rcpts []int, content io.ReaderAt, _ int64) []envelope.Outcome {
	t := try{time.Now(), l.hop, env.ID, slices.Clone(rcpts)}
	l.n.begin(t)
	defer l.n.end(t)
	if l.n.took > 0 {
		timer := time.NewTimer(l.n.took)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return all(t, envelope.AdviceDefer, cause.LocalShutdown)
		}
	}
	if l.n.answer == nil {
		return all(t, envelope.AdviceDelivered, cause.None)
	}
	return l.n.answer(t, env)
}

func (n *fakeNet) begin(t try) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tries = append(n.tries, t)
	b := n.busy[t.id]
	if b == nil {
		b = map[int]bool{}
		n.busy[t.id] = b
	}
	for _, i := range t.rcpts {
		if b[i] {
			n.defects = append(n.defects, "two attempts at once: "+t.id.String())
		}
		b[i] = true
	}
	if len(t.rcpts) > maxRecipients {
		n.defects = append(n.defects, "too many recipients at once")
	}
}

func (n *fakeNet) end(t try) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, i := range t.rcpts {
		delete(n.busy[t.id], i)
	}
}

func (n *fakeNet) set(f func()) { n.mu.Lock(); f(); n.mu.Unlock() }

func (n *fakeNet) seen() []try {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.tries)
}

// all gives every recipient of a try the same outcome.
func all(t try, v envelope.Advice, c cause.Cause) []envelope.Outcome {
	var out []envelope.Outcome
	for _, i := range t.rcpts {
		out = append(out, one(i, t.hop, v, c))
	}
	return out
}

func one(i int, hop string, v envelope.Advice, c cause.Cause) envelope.Outcome {
	o := envelope.Outcome{Recipient: i, Verdict: v, Attempt: envelope.Attempt{Time: time.Now(), NextHop: hop, Cause: c}}
	switch {
	case c >= cause.ConnectRefused && c <= cause.ConnectReset:
		o.SiteDown = true
	case v == envelope.AdviceDefer && c >= cause.PeerGreeting4xx:
		o.Attempt.Reply = smtp.Reply{Code: 451, Text: []string{"later"}}
	case v == envelope.AdviceFail:
		o.Attempt.Reply = smtp.Reply{Code: 550, Text: []string{"no"}}
	}
	return o
}

// byDomain routes every domain to a next hop of its name.
func byDomain(_, domain string) tenant.NextHop { return tenant.NextHop{Key: domain} }

// rig is a queue with its fakes, inside a synctest bubble.
type rig struct {
	*Queue
	t     *testing.T
	store *fakeStore
	net   *fakeNet
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// inBubble runs test with a queue in fake time.
func inBubble(t *testing.T, change func(*Config, *rig), test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, store: newStore(), net: newNet()}
		cfg := Config{Store: r.store, Transport: r.net, Route: byDomain, Jitter: -1, Logger: quiet()}
		if change != nil {
			change(&cfg, r)
		}
		q, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.Queue = q
		test(t, r)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := q.Stop(ctx); err != nil {
			t.Error(err)
		}
		for _, d := range append(r.store.defects, r.net.defects...) {
			t.Error(d)
		}
	})
}

func (r *rig) offer(to ...string) *envelope.Envelope {
	env := r.store.accept(to...)
	r.Offer(env)
	return env
}

// after lets fake time pass, until nothing moves any more.
func (r *rig) after(d time.Duration) {
	if d > 0 {
		time.Sleep(d) // fake time: the bubble's clock
	}
	synctest.Wait()
}

func (r *rig) wantState(id envelope.ID, want ...envelope.State) {
	r.t.Helper()
	if got := r.store.states(id); !slices.Equal(got, want) {
		r.t.Fatalf("states of %v: %v, want %v", id, got, want)
	}
}

var errDisk = errors.New("disk failed")
