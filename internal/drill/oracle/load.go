package oracle

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Outcome is what the generator knows about a message.
type Outcome int

// The outcomes; the package comment says what each obliges to.
const (
	Doubt Outcome = iota
	Acked
	Refused
)

func (o Outcome) String() string { return [...]string{"doubt", "acked", "refused"}[o] }

// Sent is one message of the generator with what was answered.
type Sent struct {
	ID         string
	Recipients []string
	Octets     int
	Outcome    Outcome
	Reply      Reply
	At         time.Time // when the outcome was known
	LocalPort  int
}

// Log collects what was sent. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	sent []Sent
}

// Add notes one message.
func (l *Log) Add(s Sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, s)
}

// All is a copy of everything noted.
func (l *Log) All() []Sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Sent(nil), l.sent...)
}

// Count is the number of messages with the outcome.
func (l *Log) Count(o Outcome) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for i := range l.sent {
		if l.sent[i].Outcome == o {
			n++
		}
	}
	return n
}

// SendOne sends m over c and notes the outcome in l.
func (l *Log) SendOne(c *Client, m *Message, style Style) (Reply, error) {
	s := Sent{ID: m.ID, Recipients: m.Recipients, Octets: len(m.Content), LocalPort: c.LocalPort()}
	r, err := c.Send(m, style)
	s.Reply, s.At = r, time.Now()
	switch {
	case err != nil:
		s.Outcome = Doubt
	case r.Code >= 200 && r.Code < 300:
		s.Outcome = Acked
	default:
		s.Outcome = Refused
	}
	l.Add(s)
	return r, err
}

// Load sends messages over several sessions at a bounded rate.
type Load struct {
	Addr      string
	Sessions  int
	PerSecond int // all sessions together; 0 is as fast as replies come
	Seed      uint64
	// Make makes message n (0, 1, ...) for one session; it is called by several
	// goroutines, each with its own rng.
	Make func(n int, rng *rand.Rand) (*Message, Style)
	Log  *Log
	// PerConnection is how many messages go over one connection; 0 means 50.
	PerConnection int

	mu   sync.Mutex
	next int
}

// Run sends until ctx ends and returns when every session has ended; a
// transaction that has begun is brought to its reply.
func (l *Load) Run(ctx context.Context) {
	tokens := make(chan struct{}, l.Sessions)
	var wg sync.WaitGroup
	wg.Go(func() { l.pace(ctx, tokens) })
	for i := range l.Sessions {
		wg.Go(func() { l.session(ctx, tokens, rand.New(rand.NewPCG(l.Seed, uint64(i)))) })
	}
	wg.Wait()
}

// maxLate is what the pace makes up for: pauses of our own scheduler. Chosen.
const maxLate = 20 * time.Millisecond

func (l *Load) pace(ctx context.Context, tokens chan<- struct{}) {
	defer close(tokens)
	every := time.Duration(0)
	if l.PerSecond > 0 {
		every = time.Second / time.Duration(l.PerSecond)
	}
	due := time.Now()
	for ctx.Err() == nil {
		if every > 0 {
			due = due.Add(every)
			if time.Since(due) > maxLate {
				due = time.Now() // a pause of the node is not made up by a burst
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(due)):
			}
		}
		select {
		case <-ctx.Done():
			return
		case tokens <- struct{}{}:
		}
	}
}

func (l *Load) number() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.next - 1
}

func (l *Load) session(ctx context.Context, tokens <-chan struct{}, rng *rand.Rand) {
	limit := l.PerConnection
	if limit == 0 {
		limit = 50
	}
	var c *Client
	left := 0
	defer func() {
		if c != nil {
			c.Quit()
		}
	}()
	for range tokens {
		if left == 0 && c != nil {
			c.Quit()
			c = nil
		}
		for c == nil && ctx.Err() == nil {
			if c = dialUntil(ctx, l.Addr); c != nil {
				left = limit
			}
		}
		if c == nil {
			return
		}
		left--
		m, style := l.Make(l.number(), rng)
		r, err := l.Log.SendOne(c, m, style)
		if err != nil || r.Code == 421 || strings.Contains(r.Text, "clos") {
			c.Close()
			c = nil
		}
	}
}

// dialUntil tries for a short while; nil when nobody listened or the greeting
// was a refusal.
func dialUntil(ctx context.Context, addr string) *Client {
	c, err := Dial(ctx, addr)
	if err == nil && c.Ehlo.Code == 250 {
		return c
	}
	if err == nil {
		c.Close()
	}
	select {
	case <-ctx.Done():
	case <-time.After(5 * time.Millisecond): // between two dials; the node is being started again
	}
	return nil
}
