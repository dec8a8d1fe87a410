package smtpserver

import (
	"context"
	"errors"
	"net"

	"github.com/postern-mail/postern/internal/smtp"
)

// arrive does everything up to the greeting: PROXY header, admission, TLS from
// the first octet, the Handler's decision, the wait for early talkers. It
// reports whether the greeting is due; if not, the session is over.
func (s *session) arrive(ctx context.Context) bool {
	if s.srv.cfg.ProxyProtocol && !s.proxied() {
		return false
	}
	s.known = contains(s.srv.cfg.XClientFrom, s.conn.Remote.Addr())
	if !s.takePlace() {
		return false
	}
	if s.srv.cfg.ImplicitTLS && !s.handshake(s.unread()) {
		return false
	}
	return s.connect(ctx) && s.quiet()
}

// takePlace asks Config.Admit for the client's address. The refusal is said
// where the server speaks first.
func (s *session) takePlace() bool {
	if s.srv.cfg.Admit == nil || !s.conn.Remote.IsValid() {
		return true
	}
	release, ok := s.srv.cfg.Admit(s.conn.Remote.Addr())
	if !ok {
		s.srv.tally.refused.Inc()
		s.srv.tally.cuts[cutPeer].Inc()
		if !s.srv.cfg.ImplicitTLS {
			s.say(smtp.TooManyFromPeer())
		}
		return false
	}
	s.release = release
	return true
}

// connect asks the Handler for a Session and makes the greeting due.
func (s *session) connect(ctx context.Context) bool {
	h, r := s.srv.handler.Connect(ctx, s.conn)
	s.handler = h
	if h == nil && r.IsZero() {
		r = smtp.InternalError()
	}
	if !r.IsZero() {
		s.srv.tally.refused.Inc()
		s.srv.tally.cuts[cutPolicy].Inc()
		r.Close = true
		s.say(r)
		return false
	}
	return true
}

// quiet refuses a client that talks before the greeting: RFC 5321 section
// 4.3.1 has it wait, and those that send spam in a hurry do not. What is there
// already costs one look; GreetWait, if the listener has it, waits for more.
func (s *session) quiet() bool {
	early := s.talkedFirst()
	if !early && s.srv.cfg.GreetWait > 0 {
		s.enter(phaseGreet)
		_, err := s.rd.Peek(1)
		if err != nil && !errors.Is(err, errTimedOut) {
			s.failed(err)
			return false
		}
		early = err == nil
	}
	if early {
		s.srv.tally.refused.Inc()
		s.cutOff(cutEarlyTalk, smtp.EarlyTalk())
		return false
	}
	s.sayWords(2, s.srv.words.greeting)
	return true
}

// talkedFirst looks, without waiting, for octets that came before the
// greeting: behind the PROXY header in our buffer, or in the system's. Under
// TLS from the first octet the system's are records that say nothing, and only
// GreetWait tells.
func (s *session) talkedFirst() bool {
	return s.rd.Buffered() > 0 || !s.srv.cfg.ImplicitTLS && hasSpoken(s.raw)
}

// unread returns the connection with the octets in front that came with the
// PROXY header.
func (s *session) unread() net.Conn {
	n := s.rd.Buffered()
	if n == 0 {
		return s.raw
	}
	p, _ := s.rd.Peek(n)
	c := &prefixed{Conn: s.raw, prefix: append([]byte(nil), p...)}
	s.rd.Discard()
	return c
}

// prefixed is a connection that gives prefix before anything else.
type prefixed struct {
	net.Conn
	prefix []byte
}

// Read implements net.Conn.
func (c *prefixed) Read(p []byte) (int, error) {
	if len(c.prefix) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.prefix)
	c.prefix = c.prefix[n:]
	return n, nil
}
