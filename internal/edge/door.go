package edge

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/limit"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpserver"
	"github.com/postern-mail/postern/internal/spool"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

// DefaultMaxHops is how many Received fields mark a loop. RFC 5321 section 6.3
// asks for at least 100.
const DefaultMaxHops = 100

// Queue is told of mail that was committed. Offer must not wait.
type Queue interface {
	Offer(env *envelope.Envelope)
}

// Config is what the door needs. Spool, Tenants, Queue and Passwords are
// required; every other zero value means the default that is stated.
type Config struct {
	Hostname  string // after "by" in Received; "localhost"
	Spool     *spool.Spool
	Tenants   *tenant.Holder
	Passwords *tenant.Passwords
	Queue     Queue
	// Trusted are the node's own trusted networks, from which mail to any
	// domain is taken. None, loopback included, unless they are given.
	Trusted []netip.Prefix
	// MaxHops is the largest number of Received fields that is not a loop.
	// DefaultMaxHops.
	MaxHops int
	// Connections bounds sessions in all, Networks those of one client
	// network. nil bounds nothing.
	Connections *limit.Count
	Networks    *limit.Networks
	Clock       telemetry.Clock // telemetry.WallClock
	Logger      *slog.Logger    // slog.Default
	Metrics     *Metrics        // nil: not counted
}

// Door is the edge of one node, the Handler of all its SMTP servers, which so
// share its bounds. It is safe for concurrent use.
type Door struct {
	cfg Config
	log *slog.Logger
}

// New makes a Door.
func New(cfg Config) (*Door, error) {
	if cfg.Spool == nil || cfg.Tenants == nil || cfg.Queue == nil || cfg.Passwords == nil {
		return nil, errors.New("edge: Spool, Tenants, Passwords and Queue are needed")
	}
	if cfg.Hostname == "" {
		cfg.Hostname = "localhost"
	}
	if cfg.MaxHops <= 0 {
		cfg.MaxHops = DefaultMaxHops
	}
	if cfg.Clock == nil {
		cfg.Clock = telemetry.WallClock
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	return &Door{cfg: cfg, log: cfg.Logger}, nil
}

// Connect admits a client or refuses it cheaply; it implements
// smtpserver.Handler. Bounds are taken from the general to the particular
// (package limit).
func (d *Door) Connect(_ context.Context, conn *smtpserver.Conn) (smtpserver.Session, smtp.Reply) {
	client := conn.Remote.Addr().Unmap()
	if !d.cfg.Connections.TryTake() {
		d.logNotAdmitted(conn, smtp.TooBusy())
		return nil, smtp.TooBusy()
	}
	if !d.cfg.Networks.TryTake(client) {
		d.cfg.Connections.Give()
		d.logNotAdmitted(conn, smtp.TooManyFromPeer())
		return nil, smtp.TooManyFromPeer()
	}
	telemetry.FailPoint("edge.connected")
	return &session{door: d, conn: conn, admitted: client}, smtp.Reply{}
}

// Close gives the admission back. The server calls it once.
func (s *session) Close() {
	s.door.cfg.Networks.Give(s.admitted)
	s.door.cfg.Connections.Give()
}

// trusts reports whether the node itself trusts client.
func (d *Door) trusts(client netip.Addr) bool {
	for _, p := range d.cfg.Trusted {
		if p.Contains(client) {
			return true
		}
	}
	return false
}
