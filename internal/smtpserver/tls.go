package smtpserver

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/telemetry"
)

// mayStartTLS is the check of STARTTLS.
func (s *session) mayStartTLS() smtp.Reply {
	switch {
	case s.srv.cfg.TLS == nil:
		return smtp.NotImplemented()
	case s.conn.TLS != nil:
		return smtp.TLSActive()
	}
	return smtp.Reply{}
}

// startTLS does STARTTLS (RFC 3207). Octets that came after the command in
// the clear are dropped and reported: what they say must not count as said
// under TLS.
func (s *session) startTLS(context.Context, []byte) {
	if n := s.rd.Discard(); n > 0 {
		s.srv.tally.cuts[cutReadAhead].Inc()
		s.srv.cfg.Logger.Warn("octets after starttls dropped", telemetry.KeySession, s.number, telemetry.KeyListener, s.srv.cfg.Name,
			telemetry.KeyPeer, s.conn.Remote, telemetry.KeyOctets, n)
	}
	s.say(smtp.StartTLS())
	if s.flush(time.Now()) != nil || !s.handshake(s.raw) {
		s.ending = true
		return
	}
	// RFC 3207 section 4.2: forget all that was said before.
	s.reset()
	s.state = fresh
	s.conn.Hello, s.conn.ESMTP = "", false
}

// handshake makes TLS on nc and changes the session over to it.
func (s *session) handshake(nc net.Conn) bool {
	by := time.Now().Add(s.srv.cfg.Deadlines.TLSHandshake)
	_ = nc.SetDeadline(by)
	s.armed, s.writeBy = by, by
	t := tls.Server(nc, s.srv.cfg.TLS)
	if err := t.Handshake(); err != nil {
		s.srv.tally.tlsFailed.Inc()
		s.srv.cfg.Logger.Info("tls handshake failed", telemetry.KeySession, s.number, telemetry.KeyListener, s.srv.cfg.Name,
			telemetry.KeyPeer, s.conn.Remote, telemetry.KeyError, err)
		return false
	}
	s.srv.tally.tlsOK.Inc()
	acknowledge(s.raw)
	state := t.ConnectionState()
	s.nc = t
	s.conn.TLS = &state
	s.conn.TLSName = state.ServerName
	s.conn.TLSText = versionText(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	return true
}

// versionText is "TLS1.3" where crypto/tls says "TLS 1.3": one word for the
// Received field.
func versionText(v uint16) string {
	switch v {
	case tls.VersionTLS12:
		return "TLS1.2"
	case tls.VersionTLS13:
		return "TLS1.3"
	case tls.VersionTLS11:
		return "TLS1.1"
	case tls.VersionTLS10:
		return "TLS1.0"
	}
	return "TLS"
}
