package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/postern-mail/postern/internal/telemetry"
)

// ClientConfig says whom a Client asks and with which bounds. The zero value
// is ready to use.
type ClientConfig struct {
	// Upstreams are recursive name servers, asked in turn. Empty: those of
	// /etc/resolv.conf, and 127.0.0.1:53 if it names none.
	Upstreams []netip.AddrPort
	// TrustAD: an upstream's AD bit makes an answer Authentic. Only for
	// validating upstreams on a path that nobody else writes to.
	TrustAD bool
	// Timeout is for one try at one upstream. Default 2 s (chosen: below the
	// 5 s of common resolvers, above their usual worst recursion).
	Timeout time.Duration
	// Rounds is how often all upstreams are tried. Default 2.
	Rounds int
	// Total ends a question whatever happens. Default 10 s.
	Total time.Duration
	// MaxOutstanding bounds open questions. Default 512. Above it a question
	// is refused at once with ErrBusy.
	MaxOutstanding int
	// MaxEntries bounds the cache. Default 20,000 (about 6 MB).
	MaxEntries int
	// MaxTTL caps what the cache keeps as fresh. Default 1 h.
	MaxTTL time.Duration
	// MaxNegativeTTL caps NoSuchName and NoSuchType. Default 5 min.
	MaxNegativeTTL time.Duration
	// FailureTTL is how long CouldNotAsk is repeated without asking. Default
	// 5 s (RFC 9520 section 3.2 asks for 1 s to 5 min).
	FailureTTL time.Duration
	// StaleFor is how long after it was last good an answer may be served
	// stale. Default 72 h (RFC 8767 section 5 suggests 1 to 3 days).
	StaleFor time.Duration
	// Telemetry exports Stats. nil: not seen.
	Telemetry *telemetry.Telemetry
	// Clock is for tests. Default telemetry.WallClock.
	Clock telemetry.Clock
}

// withDefaults fills in what is zero.
func (c ClientConfig) withDefaults() ClientConfig {
	c.Timeout = cmp.Or(c.Timeout, 2*time.Second)
	c.Rounds = cmp.Or(c.Rounds, 2)
	c.Total = cmp.Or(c.Total, 10*time.Second)
	c.MaxOutstanding = cmp.Or(c.MaxOutstanding, 512)
	c.MaxEntries = cmp.Or(c.MaxEntries, 20_000)
	c.MaxTTL = cmp.Or(c.MaxTTL, time.Hour)
	c.MaxNegativeTTL = cmp.Or(c.MaxNegativeTTL, 5*time.Minute)
	c.FailureTTL = cmp.Or(c.FailureTTL, 5*time.Second)
	c.StaleFor = cmp.Or(c.StaleFor, 72*time.Hour)
	if c.Clock == nil {
		c.Clock = telemetry.WallClock
	}
	if len(c.Upstreams) == 0 {
		c.Upstreams = SystemUpstreams("/etc/resolv.conf")
	}
	return c
}

// SystemUpstreams returns the name servers that a resolv.conf names, and
// 127.0.0.1:53 when it names none or can't be read.
func SystemUpstreams(path string) []netip.AddrPort {
	var ups []netip.AddrPort
	if conf, err := dns.ClientConfigFromFile(path); err == nil {
		for _, s := range conf.Servers {
			if a, err := netip.ParseAddr(s); err == nil {
				ups = append(ups, netip.AddrPortFrom(a, 53))
			}
		}
	}
	if len(ups) == 0 {
		ups = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}
	}
	return ups
}

// Stats counts what a Client did since it was made.
type Stats struct {
	Questions   uint64 // asked by callers
	Cached      uint64 // answered from the cache
	Joined      uint64 // answered by another caller's open question
	Tries       uint64 // packets or TCP questions sent upstream
	TCP         uint64 // of these, over TCP
	Dropped     uint64 // packets with a wrong ID, question or case
	Stale       uint64 // answered stale
	CouldNotAsk uint64 // questions to which no upstream answered
	Busy        uint64 // refused for MaxOutstanding
	Outstanding int    // open now
}

// counters is Stats while they are counted.
type counters struct {
	questions, cached, joined, tries, tcp, dropped, stale, couldNotAsk, busy atomic.Uint64
}

// Client asks upstream name servers. It is safe for concurrent use.
type Client struct {
	cfg       ClientConfig
	preferred atomic.Uint32 // index of the upstream that answered last
	count     counters

	stop    context.CancelFunc // ends all open questions
	life    context.Context    // done when stop was called; questions outlive their first caller
	wg      sync.WaitGroup
	mu      sync.Mutex // guards the rest
	cache   cache
	open    map[question]*flight
	stopped bool
}

// flight is one open question. res is set before done is closed.
type flight struct {
	done chan struct{}
	res  result
}

// NewClient returns a Client. Close ends it.
func NewClient(cfg ClientConfig) *Client {
	cfg = cfg.withDefaults()
	c := &Client{cfg: cfg, cache: newCache(cfg.MaxEntries, cfg.StaleFor), open: map[question]*flight{}}
	c.life, c.stop = context.WithCancel(context.Background())
	c.export(cfg.Telemetry)
	return c
}

// Close ends all open questions with CouldNotAsk and waits for them.
func (c *Client) Close() error {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.stop()
	c.wg.Wait()
	return nil
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	open := len(c.open)
	c.mu.Unlock()
	return Stats{
		Questions: c.count.questions.Load(), Cached: c.count.cached.Load(), Joined: c.count.joined.Load(),
		Tries: c.count.tries.Load(), TCP: c.count.tcp.Load(), Dropped: c.count.dropped.Load(),
		Stale: c.count.stale.Load(), CouldNotAsk: c.count.couldNotAsk.Load(), Busy: c.count.busy.Load(),
		Outstanding: open,
	}
}

// MX implements Resolver.
func (c *Client) MX(ctx context.Context, domain string) (MXAnswer, error) {
	name, ok := normalName(domain)
	if !ok {
		return MXAnswer{}, refuseName(domain, dns.TypeMX)
	}
	q := question{name, dns.TypeMX}
	res := c.await(ctx, q, c.begin(q))
	if res.bad != nil {
		return MXAnswer{}, res.bad
	}
	return MXAnswer{Facts: c.facts(res), Records: slices.Clone(res.good.mx)}, nil
}

// Addrs implements Resolver. Both families are asked at the same time.
func (c *Client) Addrs(ctx context.Context, host string) (AddrAnswer, error) {
	name, ok := normalName(host)
	if !ok {
		return AddrAnswer{}, refuseName(host, dns.TypeA)
	}
	q6, q4 := question{name, dns.TypeAAAA}, question{name, dns.TypeA}
	f6, f4 := c.begin(q6), c.begin(q4)
	a6, err6 := c.addrs(c.await(ctx, q6, f6))
	a4, err4 := c.addrs(c.await(ctx, q4, f4))
	return joinAddrs(name, a6, err6, a4, err4)
}

func (c *Client) addrs(res result) (AddrAnswer, error) {
	if res.bad != nil {
		return AddrAnswer{}, res.bad
	}
	return AddrAnswer{Facts: c.facts(res), Addrs: slices.Clone(res.good.addrs)}, nil
}

func (c *Client) facts(res result) Facts {
	f := Facts{Authentic: res.good.authentic, Stale: res.stale}
	if !res.stale {
		f.TTL = max(0, res.good.until.Sub(c.cfg.Clock()))
	} else {
		c.count.stale.Add(1)
	}
	return f
}

// begin returns the flight that will answer q: a finished one from the cache,
// one that is open already, or a new one.
func (c *Client) begin(q question) *flight {
	c.count.questions.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if res, ok := c.cache.fresh(q, c.cfg.Clock()); ok {
		c.count.cached.Add(1)
		return landed(res)
	}
	if f := c.open[q]; f != nil {
		c.count.joined.Add(1)
		return f
	}
	if c.stopped {
		return landed(result{bad: q.couldNotAsk("", ErrClosed)})
	}
	if len(c.open) >= c.cfg.MaxOutstanding {
		c.count.busy.Add(1)
		return landed(result{bad: q.couldNotAsk("", ErrBusy)})
	}
	f := &flight{done: make(chan struct{})}
	c.open[q] = f
	c.wg.Add(1)
	go c.fly(q, f)
	return f
}

// landed is a flight that needed no asking.
func landed(res result) *flight {
	f := &flight{done: make(chan struct{}), res: res}
	close(f.done)
	return f
}

// await waits for f, no longer than ctx allows. The question goes on for the
// others, and for the cache.
func (c *Client) await(ctx context.Context, q question, f *flight) result {
	select {
	case <-f.done:
		return f.res
	default:
	}
	select {
	case <-f.done:
		return f.res
	case <-ctx.Done():
		return result{bad: q.couldNotAsk("", context.Cause(ctx))}
	}
}

// fly asks, remembers and wakes the waiters.
func (c *Client) fly(q question, f *flight) {
	defer c.wg.Done()
	ctx, cancel := context.WithTimeout(c.life, c.cfg.Total)
	defer cancel()
	good, bad, ttl := c.resolve(ctx, q)
	if bad != nil && bad.Kind == CouldNotAsk {
		c.count.couldNotAsk.Add(1)
	}
	c.mu.Lock()
	f.res = c.cache.keep(q, good, bad, ttl, c.cfg.Clock())
	delete(c.open, q)
	c.mu.Unlock()
	close(f.done)
}

// resolve asks the upstreams and reads the answer. ttl is for bad.
func (c *Client) resolve(ctx context.Context, q question) (good *records, bad *Error, ttl time.Duration) {
	defer func() {
		if r := recover(); r != nil {
			good, bad, ttl = nil, q.couldNotAsk("", fmt.Errorf("defect: %v", r)), c.cfg.FailureTTL
		}
	}()
	msg, server, err := c.exchange(ctx, q)
	if err != nil {
		if c.life.Err() != nil {
			err = errors.Join(ErrClosed, err)
		}
		return nil, q.couldNotAsk(server, err), c.cfg.FailureTTL
	}
	a := interpret(msg, q)
	if a.kind != 0 {
		bad = &Error{Name: q.name, Type: dns.TypeToString[q.qtype], Kind: a.kind, Server: server, Err: a.err}
		return nil, bad, min(a.ttl, c.cfg.MaxNegativeTTL)
	}
	now := c.cfg.Clock()
	return &records{
		mx: a.mx, addrs: a.addrs, authentic: c.cfg.TrustAD && msg.AuthenticatedData,
		at: now, until: now.Add(min(a.ttl, c.cfg.MaxTTL)),
	}, nil, 0
}

func (q question) couldNotAsk(server string, err error) *Error {
	return &Error{Name: q.name, Type: dns.TypeToString[q.qtype], Kind: CouldNotAsk, Server: server, Err: err}
}
