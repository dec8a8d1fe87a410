package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/postern-mail/postern/internal/node"
	"github.com/postern-mail/postern/internal/smtpserver"
	"github.com/postern-mail/postern/internal/smtpwire"
	"github.com/postern-mail/postern/internal/telemetry"
)

// smtpListener is one bound address of one SMTP server.
type smtpListener struct {
	node.Listener
	server *smtpserver.Server
	ln     net.Listener
	done   chan error // capacity 1: the one result of Serve
}

// closeAfter closes what a failed step had opened.
func closeAfter(err error, c io.Closer) error { return errors.Join(err, c.Close()) }

// bindListeners binds every SMTP address, before anything is started.
func (g *gateway) bindListeners(ctx context.Context) error {
	for _, l := range g.cfg.Listeners() {
		if !l.SMTP {
			continue
		}
		ln, err := smtpserver.Listen(ctx, "tcp", l.Address)
		if err != nil {
			return fmt.Errorf("listen.%s: %w", l.Name, err)
		}
		g.servers = append(g.servers, &smtpListener{Listener: l, ln: ln, done: make(chan error, 1)})
		g.push(l.Name+" listener", func(context.Context) error {
			if err := ln.Close(); !errors.Is(err, net.ErrClosed) { // the door closes it, if it came that far
				return err
			}
			return nil
		})
	}
	return nil
}

// buildServers makes one SMTP server for each name of a listener.
func (g *gateway) buildServers() error {
	metrics := smtpserver.NewMetrics(g.tel.Registry)
	servers := map[string]*smtpserver.Server{}
	for _, l := range g.servers {
		if servers[l.Name] == nil {
			server, err := smtpserver.New(g.serverConfig(l.Listener, metrics), g.door)
			if err != nil {
				return err
			}
			servers[l.Name] = server
		}
		l.server = servers[l.Name]
	}
	g.push(partDoor, g.closeDoor)
	return nil
}

func (g *gateway) serverConfig(l node.Listener, metrics *smtpserver.Metrics) smtpserver.Config {
	b, d := &g.cfg.Limits, &g.cfg.Limits.Deadlines
	newlines := smtpwire.Reject
	if g.cfg.SMTP.BareNewline == "normalise" {
		newlines = smtpwire.Normalise
	}
	return smtpserver.Config{
		Name: l.Name, Hostname: g.cfg.Hostname, Submission: l.Submission, TLS: g.certificate.config(),
		MaxContentOctets: int64(b.Content), MaxRecipients: b.Recipients, MaxMessages: int(orNone(int64(b.MessagesPerConnection))),
		MaxErrors: b.Errors, MaxVerbs: b.Commands + b.Recipients, MaxConnections: b.Connections,
		MinRate: int(orNone(int64(b.MinRate))), Newlines: newlines,
		Deadlines: smtpserver.Deadlines{
			Command: d.Command.Std(), DataBlock: d.ContentBlock.Std(), Content: d.Content.Std(), Write: d.Write.Std(),
			TLSHandshake: d.Handshake.Std(), ProxyHeader: d.Handshake.Std(), Session: d.Session.Std(),
		},
		ProxyProtocol: l.ProxyProtocol, XClientFrom: node.Prefixes(g.cfg.Trust.XClientFrom),
		NextSession: func() uint64 { return g.sessions.Add(1) }, Logger: g.log, Metrics: metrics,
	}
}

// start lets everything that was built run, the door last.
func (g *gateway) start() {
	g.started = true
	go func() { g.controlDone <- g.control.Serve() }()
	for _, w := range g.webs {
		w.start(g.fail)
	}
	g.queue.Start()
	for _, s := range g.servers {
		s.start(g.fail)
	}
	g.health.serve()
}

func (s *smtpListener) start(fail func(error)) {
	go func() {
		err := s.server.Serve(context.Background(), s.ln)
		if err != nil {
			fail(fmt.Errorf("listener %s: %w", s.Name, err))
		}
		s.done <- err
	}()
}

// closeDoor ends all SMTP servers at once: 421 to sessions outside a
// transaction; the others may end theirs until ctx does.
func (g *gateway) closeDoor(ctx context.Context) error {
	if !g.started {
		return nil
	}
	var wait sync.WaitGroup
	errs := make([]error, len(g.servers))
	for i, s := range g.servers {
		wait.Go(func() {
			// Addresses of one name share a server; each Shutdown waits.
			errs[i] = g.drained(s.server.Shutdown(ctx))
			<-s.done
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// drained notes sessions that were cut because the drain time is over. That is
// what it is for, and no failure of the stop.
func (g *gateway) drained(err error) error {
	var cut *smtpserver.CutError
	if !errors.As(err, &cut) {
		return err
	}
	if cut.Sessions > 0 { // addresses of one name tell it twice
		g.log.Warn("the drain time is over", telemetry.KeyListener, cut.Server, "sessions_cut", cut.Sessions)
	}
	return nil
}
