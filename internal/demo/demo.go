package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path"

	"github.com/postern-mail/postern/internal/dns"
	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/smtpserver"
	"github.com/postern-mail/postern/internal/telemetry"
)

// Config is what the demo needs. FS, Dir and Listener are required.
type Config struct {
	FS       durable.FS
	Dir      string       // for all its files, usually <data>/demo
	Listener net.Listener // of the sample customer's server; Stop closes it
	TLS      *tls.Config  // of that server; nil: it offers no STARTTLS
	Clock    telemetry.Clock
	Logger   *slog.Logger
}

// Demo is the sample tenant, its server and the .test zone. Its methods are
// safe for concurrent use.
type Demo struct {
	// TenantsFile was made at the first start.
	TenantsFile string
	// Password is alice's on submission.
	Password string
	// Zone answers for .test.
	Zone *dns.Zone

	inbox  *Inbox
	server *smtpserver.Server
	ln     net.Listener
	done   chan error // capacity 1: the one result of Serve
}

// Open makes what is missing in Dir, and the sample server, which serves after
// Start.
func Open(cfg Config) (*Demo, error) {
	if cfg.Clock == nil {
		cfg.Clock = telemetry.WallClock
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	d := &Demo{ln: cfg.Listener, done: make(chan error, 1)}
	if err := makeDirectory(cfg.FS, cfg.Dir); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	for _, step := range []func(Config) error{d.openTenant, d.openServer} {
		if err := step(cfg); err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
	}
	return d, nil
}

// openTenant makes the password and tenants.yaml at the first start.
func (d *Demo) openTenant(cfg Config) error {
	password, err := ensure(cfg.FS, path.Join(cfg.Dir, "alice.password"), func() ([]byte, error) {
		return []byte(newPassword() + "\n"), nil
	})
	if err != nil {
		return err
	}
	d.Password = string(bytes.TrimSpace(password))
	d.TenantsFile = path.Join(cfg.Dir, "tenants.yaml")
	_, err = ensure(cfg.FS, d.TenantsFile, func() ([]byte, error) { return sampleTenants(d.Password) })
	return err
}

func (d *Demo) openServer(cfg Config) error {
	var err error
	if d.Zone, err = newZone(); err != nil {
		return err
	}
	if d.inbox, err = OpenInbox(cfg.FS, path.Join(cfg.Dir, "inbox")); err != nil {
		return err
	}
	d.server, err = newServer(d.inbox, cfg.TLS, cfg.Clock, cfg.Logger)
	return err
}

// Inbox is what the sample server got.
func (d *Demo) Inbox() *Inbox { return d.inbox }

// Start lets the sample server serve until Stop.
func (d *Demo) Start() {
	go func() { d.done <- d.server.Serve(context.Background(), d.ln) }()
}

// Stop ends the sample server: transactions may end until ctx does. It is
// called once, after Start.
func (d *Demo) Stop(ctx context.Context) error {
	err := d.server.Shutdown(ctx)
	return errors.Join(err, <-d.done)
}

// Dialer connects; package smtpclient has the same seam.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Dialer returns a Dialer that leads from the address of the .test zone's mail
// exchanger to the sample server, whatever its port, and leaves all else to
// next.
func (d *Demo) Dialer(next Dialer) Dialer {
	return dialer{next: next, target: d.ln.Addr().String()}
}

type dialer struct {
	next   Dialer
	target string
}

// DialContext implements Dialer.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if address == mxAddress {
		address = d.target
	}
	return d.next.DialContext(ctx, network, address)
}
