package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postern-mail/postern/internal/bounce"
	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/demo"
	"github.com/postern-mail/postern/internal/edge"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/limit"
	"github.com/postern-mail/postern/internal/node"
	"github.com/postern-mail/postern/internal/queue"
	"github.com/postern-mail/postern/internal/smtpserver"
	"github.com/postern-mail/postern/internal/spool"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

// Parts that drain; the others only close.
const (
	partDoor  = "door"
	partQueue = "queue"
)

// build makes everything and starts nothing that a stranger can reach.
func (g *gateway) build(ctx context.Context) error {
	steps := []func(context.Context) error{
		g.buildTelemetry, g.buildDirectory, g.buildSpool, g.buildCertificate, g.buildDemo,
		g.buildTenants, g.buildControl, g.buildWeb, g.bindListeners, g.buildQueue, g.buildDoor,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateway) buildTelemetry(context.Context) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(g.cfg.Log.Level)); err != nil {
		return fmt.Errorf("log level: %w", err)
	}
	tel, err := telemetry.New(telemetry.Config{
		Output: g.opts.Log, Format: telemetry.Format(g.cfg.Log.Format), Level: level,
	})
	if err != nil {
		return err
	}
	g.tel, g.log = tel, tel.Logger
	g.push("log", tel.Close)
	g.health = &health{started: g.clock()}
	g.log.Info("starting", telemetry.KeyVersion, telemetry.Build().String(), telemetry.KeyHost, g.cfg.Hostname, "data", g.cfg.Data)
	return nil
}

func (g *gateway) buildDirectory(context.Context) error {
	lock, err := claimDirectory(g.fs, g.cfg.Data)
	if err != nil {
		return err
	}
	g.push("data directory", func(context.Context) error { return lock.Close() })
	return nil
}

func (g *gateway) buildSpool(ctx context.Context) error {
	memory := limit.NewOctets("content_octets", int64(g.cfg.Limits.OctetsInMemory))
	if err := limit.Register(g.tel.Registry, memory); err != nil {
		return err
	}
	c := &g.cfg.Spool
	s, recovery, err := spool.Open(ctx, spool.Config{
		FS: g.fs, Dir: filepath.Join(g.cfg.Data, "spool"), Identity: spool.NodeIdentity{Machine: machineID()},
		SegmentOctets: int64(c.Segment), InlineMax: int64(c.InlineMax), EventLogMax: int64(c.EventLogMax),
		MinFreeOctets: orNone(int64(c.MinFree)), MinFreeInodes: orNone(int64(c.MinFreeInodes)), BallastOctets: orNone(int64(c.Ballast)),
		FinishSyncDelay: c.FinishSyncDelay.Std(), CheckpointEvery: c.CheckpointEvery.Std(),
		CheckpointOctets: int64(c.CheckpointOctets), CopyForwardAfter: c.CopyForwardAfter.Std(),
		Clock: g.clock, Logger: g.log, Metrics: g.tel.Registry, Memory: memory,
	})
	if err != nil {
		return err
	}
	g.spool = s
	g.push("spool", s.Close)
	if recovery.Hurt() {
		g.log.Error("the spool is hurt: see postern audit", telemetry.KeyCount, len(recovery.Findings))
	}
	g.health.add("spool", func() error { return s.Room(0) })
	return nil
}

// orNone is what the spool takes for a bound that is configured as 0.
func orNone(v int64) int64 {
	if v == 0 {
		return -1
	}
	return v
}

// machineID is the machine's ID as the system knows it, "" when it has none.
func machineID() string {
	for _, name := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if b, err := os.ReadFile(name); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	return ""
}

func (g *gateway) buildCertificate(context.Context) error {
	names := []string{g.cfg.Hostname, "localhost", "127.0.0.1", "::1"}
	if g.opts.Demo && g.cfg.Hostname != demoHostname {
		names = append(names, demoHostname)
	}
	var err error
	g.certificate, err = openCertificate(g.cfg.TLS.Certificate, g.cfg.TLS.Key, g.cfg.Data, names, g.clock())
	return err
}

// demoHostname is what the sample node is called in the texts.
const demoHostname = "gw.example.test"

func (g *gateway) buildDemo(ctx context.Context) error {
	if !g.opts.Demo {
		return nil
	}
	if len(g.cfg.Listen.Demo) != 1 {
		return fmt.Errorf("listen.demo: want one address for --demo, not %d", len(g.cfg.Listen.Demo))
	}
	ln, err := smtpserver.Listen(ctx, "tcp", string(g.cfg.Listen.Demo[0]))
	if err != nil {
		return fmt.Errorf("listen.demo: %w", err)
	}
	d, err := demo.Open(demo.Config{
		FS: g.fs, Dir: filepath.Join(g.cfg.Data, "demo"), Listener: ln, TLS: g.certificate.config(), Clock: g.clock, Logger: g.log,
	})
	if err != nil {
		return closeAfter(err, ln)
	}
	g.demo = d
	d.Start()
	g.push("sample server", d.Stop)
	return nil
}

func (g *gateway) buildTenants(context.Context) error {
	if err := g.loadTenants(); err != nil {
		return err
	}
	g.health.tells(func() string { return g.tenants.Current().Revision() })
	g.tel.GaugeFunc("postern_tenants_recipients", "Recipients that tenants.yaml names.", func() float64 {
		return float64(g.tenants.Current().Counts().Recipients)
	})
	return nil
}

func (g *gateway) buildControl(ctx context.Context) error {
	requests := limit.NewCount("control_requests", int64(g.cfg.Limits.ControlRequests))
	server, err := control.Listen(ctx, control.Config{
		Dir: g.cfg.Data, Requests: requests, Logger: g.log,
		Hello: control.Hello{
			Version: telemetry.Build().String(), PID: g.pid, Hostname: g.cfg.Hostname, Started: g.clock(), Demo: g.opts.Demo,
		},
	})
	if err != nil {
		return err
	}
	g.control = server
	g.push("control socket", func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		if g.started {
			err = errors.Join(err, <-g.controlDone)
		}
		return err
	})
	g.answerCalls(server)
	return limit.Register(g.tel.Registry, requests)
}

// buildWeb binds the HTTP listeners.
func (g *gateway) buildWeb(ctx context.Context) error {
	for _, l := range g.cfg.Listeners() {
		if l.SMTP {
			continue
		}
		handler := g.health.handler(g.cfg.Hostname, g.clock)
		if l.Name == "metrics" {
			handler = metricsHandler(promhttp.HandlerFor(g.tel.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
		}
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", l.Address)
		if err != nil {
			return fmt.Errorf("listen.%s: %w", l.Name, err)
		}
		w := newWeb(l.Name, ln, handler)
		g.webs = append(g.webs, w)
		g.push(l.Name+" listener", w.stop)
	}
	return nil
}

func (g *gateway) buildQueue(context.Context) error {
	carrier, err := g.newRelay()
	if err != nil {
		return err
	}
	g.bouncer, err = bounce.New(bounce.Config{
		Store: bounce.OfSpool(g.spool), Hostname: g.cfg.Hostname, Clock: g.clock, Logger: g.log, Metrics: g.tel.Registry,
		Offer: func(env *envelope.Envelope) { g.queue.Offer(env) },
	})
	if err != nil {
		return err
	}
	l, q := &g.cfg.Limits, &g.cfg.Queue
	g.queue, err = queue.New(queue.Config{
		Store: queue.OfSpool(g.spool), Report: g.bouncer.Report,
		Transport: queue.TransportFunc(func(hop tenant.NextHop) queue.Lane { return carrier.Lane(hop) }), Halt: carrier.Halt,
		Route: func(tenantID, domainKey string) tenant.NextHop {
			return g.tenants.Current().NextHop(tenantID, domainKey)
		},
		MaxLanes: l.Lanes, MaxPerHop: l.LanesPerHop, MaxItems: l.QueueItems,
		Backoff: node.Durations(q.Backoff), SiteBackoff: node.Durations(q.SiteBackoff), Expiry: q.Expiry.Std(), LaneIdle: q.LaneIdle.Std(),
		Clock: g.clock, Logger: g.log, Metrics: g.tel.Registry,
	})
	if err != nil {
		return err
	}
	g.push(partQueue, g.queue.Stop)
	return nil
}

func (g *gateway) buildDoor(context.Context) error {
	l := &g.cfg.Limits
	connections := limit.NewCount("smtp_connections", int64(l.Connections))
	networks := limit.NewNetworks("smtp_connections_per_network", int64(l.ConnectionsPerNetwork), 24, 64)
	passwords := tenant.NewPasswords(tenant.PasswordsConfig{
		Concurrent: l.PasswordChecks, Waiting: l.PasswordWaiting, CacheFor: l.PasswordCache.Std(), Now: g.clock,
	})
	if err := limit.Register(g.tel.Registry, connections, networks, passwords.Bound()); err != nil {
		return err
	}
	var err error
	g.door, err = edge.New(edge.Config{
		Hostname: g.cfg.Hostname, Spool: g.spool, Tenants: g.tenants, Passwords: passwords, Queue: g.queue,
		Trusted: node.Prefixes(g.cfg.Trust.Networks), MaxHops: l.Hops, Connections: connections, Networks: networks,
		Clock: g.clock, Logger: g.log, Metrics: edge.NewMetrics(g.tel),
	})
	if err != nil {
		return err
	}
	return g.buildServers()
}
