package queue

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

// Config is what a Queue is made of. Store, Transport and Route are needed;
// every other zero value means the default that its comment names.
type Config struct {
	Store     Store
	Transport Transport
	// Route says where mail of a tenant for a domain goes. It is asked when a
	// message comes and again at every attempt but the first (Rerouted tells
	// that it may answer otherwise), must not wait,
	// and is called without the queue's mutex.
	Route func(tenantID, domainKey string) tenant.NextHop
	// Report is told of recipients that end otherwise than by plain delivery:
	// To is Bounced (the next hop refused, or time is over) or Delivered (and
	// a "relayed" report was asked for). When it returns nil it has made every
	// one of these changes lasting, To replaced by DSNSuppressed where no DSN
	// is allowed. nil: the queue applies DSNSuppressed itself.
	Report func(ctx context.Context, env *envelope.Envelope, ended []envelope.Change) error

	// Halt, when not nil, is called once by Stop, to end attempts that have
	// nothing under way yet (a connection that is being opened): they should
	// come to cause.LocalShutdown. Without it Stop waits for them too.
	Halt func()

	// MaxLanes bounds the lanes (goroutines, connections) in all. 200.
	MaxLanes int
	// MaxPerHop bounds the lanes of one next hop that does not say so itself
	// (tenant.NextHop.MaxConnections). 20, as Postfix's
	// default_destination_concurrency_limit.
	MaxPerHop int
	// MaxItems bounds the items in memory; what is beyond stays in the spool
	// and is found by a later scan. 2,000,000 (about 160 MB).
	MaxItems int
	// MaxFresh bounds the envelopes that are kept in memory between Offer and
	// the first attempt; later ones are read back. 4,096.
	MaxFresh int

	// Backoff is the wait after the first, second, ... attempt; the last entry
	// repeats. 5m 10m 20m 40m 1h20m 2h40m 4h.
	//
	// Departs from RFC 5321 section 4.5.4.1 ("at least 30 minutes"): that
	// section itself asks for two attempts in the first hour and allows a
	// strategy that knows the reason; greylisting peers take mail after 5
	// minutes, and next hops that are down are not tried message by message
	// (SiteBackoff).
	Backoff []time.Duration
	// SiteBackoff is the wait before the next single probe of a next hop that
	// is down; the last entry repeats. 30s 1m 2m 5m 10m 15m. Chosen: one
	// probe at a time costs the peer nothing, and its mail is not held longer
	// than needed.
	SiteBackoff []time.Duration
	// Jitter is the part of each wait, 0 to 1, by which it may be longer or
	// shorter at random. 0.1; negative: none.
	Jitter float64
	// Expiry is how long a message is tried. 5 days (RFC 5321 section
	// 4.5.4.1: "at least 4-5 days").
	Expiry time.Duration
	// LaneIdle is how long a lane without work keeps its connection. 2 s.
	LaneIdle time.Duration
	// ScanInterval is the time between repair scans. 1 minute.
	ScanInterval time.Duration
	// SweepInterval is the time between looks at the clock, at expiry of mail
	// for dead next hops and at unused hops. 1 minute.
	SweepInterval time.Duration
	// ApplyRetry is the first wait after a change could not be written; it
	// doubles up to 5 s. 100 ms.
	ApplyRetry time.Duration
	// PanicLimit is the number of attempts that may end in a recovered panic
	// before the message is held. 3.
	PanicLimit int
	// LastSeen is when this node last knew the time (a previous run's last
	// batch), or zero. A clock that is more than an hour off from it at the
	// start pauses expiry until ConfirmClock.
	LastSeen time.Time

	Clock   telemetry.Clock // telemetry.WallClock
	Logger  *slog.Logger    // slog.Default()
	Metrics prometheus.Registerer
}

func (c Config) withDefaults() (Config, error) {
	if c.Store == nil || c.Transport == nil || c.Route == nil {
		return c, errors.New("queue: Store, Transport and Route are needed")
	}
	number(&c.MaxLanes, 200)
	number(&c.MaxPerHop, 20)
	number(&c.MaxItems, 2_000_000)
	number(&c.MaxFresh, 4096)
	number(&c.PanicLimit, 3)
	number(&c.Expiry, 5*24*time.Hour)
	number(&c.LaneIdle, 2*time.Second)
	number(&c.ScanInterval, time.Minute)
	number(&c.SweepInterval, time.Minute)
	number(&c.ApplyRetry, 100*time.Millisecond)
	if c.Jitter == 0 {
		c.Jitter = 0.1
	}
	if len(c.Backoff) == 0 {
		m := time.Minute
		c.Backoff = []time.Duration{5 * m, 10 * m, 20 * m, 40 * m, 80 * m, 160 * m, 240 * m}
	}
	if len(c.SiteBackoff) == 0 {
		c.SiteBackoff = []time.Duration{
			30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute,
		}
	}
	if c.Clock == nil {
		c.Clock = telemetry.WallClock
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

func number[T int | time.Duration](p *T, standard T) {
	if *p <= 0 {
		*p = standard
	}
}

// step returns the n-th wait (n from 1) of a schedule, jittered.
func (c *Config) step(schedule []time.Duration, n int) time.Duration {
	d := schedule[min(max(n, 1), len(schedule))-1]
	if c.Jitter <= 0 {
		return d
	}
	return d + time.Duration((2*rand.Float64()-1)*c.Jitter*float64(d))
}
