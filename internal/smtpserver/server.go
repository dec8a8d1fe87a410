package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpwire"
	"github.com/postern-mail/postern/internal/telemetry"
)

// Server speaks SMTP with the clients of its listeners, which share one Config
// and its bounds. Its methods are safe for concurrent use.
type Server struct {
	cfg     Config
	handler Handler
	verbs   []verb
	words   words
	buffers smtpwire.Buffers
	tally   *tally

	sequence atomic.Uint64 // of sessions, unless the Config has one
	running  atomic.Int64  // connections that hold a place
	draining atomic.Bool
	drained  atomic.Bool // the time for draining is over

	mu        sync.Mutex
	sessions  map[*session]struct{}
	listeners map[net.Listener]struct{}
	done      sync.WaitGroup // one per session
}

// New returns a Server. The error names everything that is wrong with c.
func New(c Config, h Handler) (*Server, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	if telemetry.Weakened(telemetry.LenientLF) {
		c.Newlines = smtpwire.Lenient
	}
	s := &Server{
		cfg:       c,
		handler:   h,
		verbs:     verbTable(),
		tally:     c.Metrics.tally(c.Name),
		sessions:  map[*session]struct{}{},
		listeners: map[net.Listener]struct{}{},
	}
	for i := range s.verbs {
		s.verbs[i].count = c.Metrics.command(c.Name, s.verbs[i].name)
	}
	if s.cfg.NextSession == nil {
		s.cfg.NextSession = func() uint64 { return s.sequence.Add(1) }
	}
	s.words = s.makeWords()
	return s, nil
}

// Listen opens a listener as this package likes it: without TCP keep-alive,
// because every wait here has a deadline of its own and the option costs three
// system calls for each connection.
func Listen(ctx context.Context, network, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	return lc.Listen(ctx, network, address)
}

// Serve accepts connections from ln until Shutdown, when it returns nil (at
// once, if that was before), or until ctx ends or ln breaks, when it returns an error. It closes ln. Sessions
// outlive it; Shutdown ends them. ctx is what the Handler's calls get.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if !s.track(ln) {
		return ln.Close()
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	defer s.untrack(ln)
	var backoff time.Duration
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			backoff = 0
			s.admit(ctx, nc)
		case s.draining.Load():
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !isTemporary(err):
			return fmt.Errorf("accept on %s: %w", s.cfg.Name, err)
		default:
			// Out of descriptors, most likely: wait for sessions to end.
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Warn("accept refused by the system", telemetry.KeyListener, s.cfg.Name, telemetry.KeyError, err)
			if !wait(ctx, backoff) {
				return ctx.Err()
			}
		}
	}
}

// isTemporary reports whether Accept may work later: want of descriptors or
// memory, and what else the net package calls temporary.
func isTemporary(err error) bool {
	if errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM) {
		return true
	}
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary() && !errors.Is(err, net.ErrClosed)
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// admit takes a place for nc and starts its session, or refuses it at once.
func (s *Server) admit(ctx context.Context, nc net.Conn) {
	if over(int(s.running.Add(1)), s.cfg.MaxConnections) {
		s.running.Add(-1)
		s.turnAway(nc, cutTotal, smtp.TooBusy())
		return
	}
	ss := newSession(s, nc)
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		s.running.Add(-1)
		s.turnAway(nc, cutShutdown, smtp.ShuttingDown(s.cfg.Hostname))
		return
	}
	s.sessions[ss] = struct{}{}
	s.done.Add(1)
	s.mu.Unlock()
	s.tally.open.Inc()
	go ss.run(ctx)
}

// turnAway says r to a connection that gets no session. The reply fits the
// empty send buffer, so it does not wait for the client. Where the first word
// is the client's (TLS, PROXY) nothing can be said.
func (s *Server) turnAway(nc net.Conn, why cut, r smtp.Reply) {
	s.tally.refused.Inc()
	s.tally.cuts[why].Inc()
	if !s.cfg.ImplicitTLS && !s.cfg.ProxyProtocol {
		_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = nc.Write(r.AppendWire(nil))
	}
	_ = nc.Close()
}

// leave gives back what admit took.
func (s *Server) leave(ss *session) {
	s.mu.Lock()
	delete(s.sessions, ss)
	s.mu.Unlock()
	s.running.Add(-1)
	s.tally.open.Dec()
	s.done.Done()
}

func (s *Server) track(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.listeners[ln] = struct{}{}
	return true
}

func (s *Server) untrack(ln net.Listener) {
	s.mu.Lock()
	delete(s.listeners, ln)
	s.mu.Unlock()
	_ = ln.Close()
}

// Open returns how many connections are open.
func (s *Server) Open() int { return int(s.running.Load()) }

// Shutdown stops accepting, says 421 4.3.2 to sessions outside a transaction,
// and waits for the others to end theirs. When ctx ends it says 421 4.3.2 to
// those that are left too, inside content as well, gives them lastWords to take
// it, closes their connections, waits for their sessions to notice, and returns
// a *CutError. A message whose content was read by then is still committed:
// Shutdown waits for Commit.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	for ln := range s.listeners {
		_ = ln.Close()
	}
	s.mu.Unlock()
	s.wakeAll()
	ended := make(chan struct{})
	go func() {
		s.done.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	s.drained.Store(true)
	left := s.wakeAll()
	select {
	case <-ended:
	case <-time.After(lastWords):
		s.closeAll()
		<-ended
	}
	return &CutError{Server: s.cfg.Name, Sessions: left, Err: ctx.Err()}
}

// lastWords is how long a client may take to hear that its transaction is cut
// (chosen: a reply is one segment).
const lastWords = time.Second

// CutError says that Shutdown did not wait for all sessions to end of
// themselves. Their clients try again.
type CutError struct {
	Server   string // its name
	Sessions int
	Err      error // of Shutdown's context
}

// Error implements error.
func (e *CutError) Error() string {
	return fmt.Sprintf("shut down %s: %d sessions cut: %v", e.Server, e.Sessions, e.Err)
}

// Unwrap returns the context's error.
func (e *CutError) Unwrap() error { return e.Err }

// wakeAll has every session look at the server's state, and counts them.
func (s *Server) wakeAll() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ss := range s.sessions {
		ss.wake()
	}
	return len(s.sessions)
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ss := range s.sessions {
		_ = ss.raw.Close()
	}
}

// contains reports whether one of ps holds a.
func contains(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
