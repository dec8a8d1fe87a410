package relay

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/dns"
	"github.com/postern-mail/postern/internal/smtpclient"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

// Config is what a Relay is made of. Resolver and Client are needed.
type Config struct {
	Resolver dns.Resolver
	Client   *smtpclient.Client
	// OwnNames are our own host names as A-labels: an MX with such a name is
	// us, and so is every MX that is not better.
	OwnNames []string
	// OwnListeners are the addresses that we accept mail on. One with an
	// unspecified address (0.0.0.0, ::) stands for all addresses of the
	// machine.
	OwnListeners []netip.AddrPort
	// MXPort is where MX hosts are spoken to. Default 25.
	MXPort uint16
	// MaxHosts bounds the hosts that are resolved in one attempt, MaxAddrs the
	// addresses that are tried. Default 10 and 8; chosen.
	MaxHosts, MaxAddrs int
	// TryFor is how long further hosts are turned to. Default 5 min.
	TryFor time.Duration
	// Total bounds one Deliver, besides what TotalRate gives to its content.
	// Default 30 min: a peer that uses each deadline of RFC 5321 section
	// 4.5.3.2 once is over by then.
	Total time.Duration
	// TotalRate is in octets per second. Default 16 KiB/s; chosen.
	TotalRate int
	// MaxMessages and MaxAge bound the use of one connection, MaxIdle the
	// time between two messages. Default 100, 60 s and 30 s.
	MaxMessages     int
	MaxAge, MaxIdle time.Duration
	// DoubtFor is how long after its last good answer a name that no longer
	// exists, or has no addresses any more, is a reason to wait. Default 72 h.
	DoubtFor  time.Duration
	Telemetry *telemetry.Telemetry // nil: not seen
	Clock     telemetry.Clock      // default telemetry.WallClock
}

// Relay makes lanes. It is safe for concurrent use.
type Relay struct {
	cfg     Config
	local   []netip.Addr // addresses of this machine
	halted  context.Context
	halt    context.CancelFunc
	metrics *metrics
}

// New returns a Relay.
func New(cfg Config) (*Relay, error) {
	if cfg.Resolver == nil || cfg.Client == nil {
		return nil, errors.New("relay: Resolver and Client are needed")
	}
	cfg.MXPort = cmp.Or(cfg.MXPort, 25)
	cfg.MaxHosts = cmp.Or(cfg.MaxHosts, 10)
	cfg.MaxAddrs = cmp.Or(cfg.MaxAddrs, 8)
	cfg.TryFor = cmp.Or(cfg.TryFor, 5*time.Minute)
	cfg.Total = cmp.Or(cfg.Total, 30*time.Minute)
	cfg.TotalRate = cmp.Or(cfg.TotalRate, 16<<10)
	cfg.MaxMessages = cmp.Or(cfg.MaxMessages, 100)
	cfg.MaxAge = cmp.Or(cfg.MaxAge, time.Minute)
	cfg.MaxIdle = cmp.Or(cfg.MaxIdle, 30*time.Second)
	cfg.DoubtFor = cmp.Or(cfg.DoubtFor, 72*time.Hour)
	if cfg.Clock == nil {
		cfg.Clock = telemetry.WallClock
	}
	names := make([]string, len(cfg.OwnNames))
	for i, n := range cfg.OwnNames {
		names[i] = strings.ToLower(strings.TrimSuffix(n, "."))
	}
	cfg.OwnNames = names
	r := &Relay{cfg: cfg, metrics: newMetrics(cfg.Telemetry)}
	r.halted, r.halt = context.WithCancel(context.Background())
	if err := r.readLocal(); err != nil {
		return nil, err
	}
	return r, nil
}

// readLocal learns the machine's addresses, which a listener on an unspecified
// address stands for.
func (r *Relay) readLocal() error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			r.local = append(r.local, p.Addr().WithZone(""))
		}
	}
	return nil
}

// Halt ends the search for hosts and the opening of connections, in attempts
// under way and in all later ones: they come to cause.LocalShutdown. A
// transaction on a connection that stands goes on. A node that stops need not
// wait for a peer's greeting.
func (r *Relay) Halt() { r.halt() }

// own reports whether a connection to addr would reach one of our listeners.
func (r *Relay) own(addr netip.AddrPort) bool {
	a := addr.Addr().Unmap().WithZone("")
	for _, l := range r.cfg.OwnListeners {
		if l.Port() != addr.Port() {
			continue
		}
		la := l.Addr().Unmap()
		if la == a || la.IsUnspecified() && (a.IsLoopback() || a.IsUnspecified() || slices.Contains(r.local, a)) {
			return true
		}
	}
	return false
}

// ownName reports whether host is one of our names.
func (r *Relay) ownName(host string) bool { return slices.Contains(r.cfg.OwnNames, host) }

// Lane returns a lane to hop. It connects when it first has something to
// deliver. Close ends it.
func (r *Relay) Lane(hop tenant.NextHop) *Lane { return &Lane{relay: r, hop: hop} }
