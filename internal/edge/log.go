package edge

import (
	"context"
	"log/slog"
	"runtime/debug"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpserver"
	"github.com/postern-mail/postern/internal/spool"
	"github.com/postern-mail/postern/internal/telemetry"
)

// The door's share of the mail log is closed: these lines, one function each.
//
//	accepted      info   a message is ours now; one line per owner
//	refused       info   connection, AUTH, MAIL, RCPT or content, the client's doing
//	deferred      warn   own trouble that the client heard of as 4yz
//	door panic    error  a defect of ours

func (d *Door) logAccepted(conn *smtpserver.Conn, envs []*envelope.Envelope) {
	d.cfg.Metrics.accepted(envs)
	ctx := context.Background()
	if !d.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	for _, env := range envs {
		d.log.LogAttrs(ctx, slog.LevelInfo, "accepted",
			slog.String(telemetry.KeyID, env.ID.String()),
			slog.Uint64(telemetry.KeySession, conn.Session),
			slog.String(telemetry.KeyTenant, env.Tenant),
			slog.String(telemetry.KeyPeer, peerOf(conn)),
			slog.String(telemetry.KeyProtocol, env.Arrival.Protocol),
			slog.String(telemetry.KeyReversePath, env.Reverse.String()),
			slog.String(telemetry.KeyForwardPath, env.Forward[0].Path.String()),
			slog.Int(telemetry.KeyRecipients, len(env.Forward)),
			slog.Int64(telemetry.KeyOctets, env.Size))
	}
}

// logRefused tells what a client was refused. forward is the zero Path where
// none is meant.
func (d *Door) logRefused(s *session, reply smtp.Reply, phase string, forward smtp.Path) {
	d.cfg.Metrics.refused(phase, reply)
	to := ""
	if !forward.IsNull() {
		to = forward.String()
	}
	d.log.LogAttrs(context.Background(), slog.LevelInfo, "refused",
		append(about(s.conn, phase, reply),
			slog.String(telemetry.KeyUser, s.login),
			slog.String(telemetry.KeyReversePath, s.tx.reverse.String()),
			slog.String(telemetry.KeyForwardPath, to))...)
}

func (d *Door) logNotAdmitted(conn *smtpserver.Conn, reply smtp.Reply) {
	d.cfg.Metrics.refused("connect", reply)
	d.log.LogAttrs(context.Background(), slog.LevelInfo, "refused", about(conn, "connect", reply)...)
}

func (d *Door) logAuthFailed(s *session, login string) {
	d.cfg.Metrics.refused("auth", smtp.AuthFailed())
	d.log.LogAttrs(context.Background(), slog.LevelInfo, "refused",
		append(about(s.conn, "auth", smtp.AuthFailed()), slog.String(telemetry.KeyUser, login))...)
}

// logDeferred tells of our own trouble.
func (d *Door) logDeferred(s *session, reply smtp.Reply, phase string, err error) {
	d.cfg.Metrics.deferrals.With(phase).Inc()
	d.log.LogAttrs(context.Background(), slog.LevelWarn, "deferred",
		append(about(s.conn, phase, reply), slog.Any(telemetry.KeyError, err))...)
}

func (d *Door) logPanic(s *session, recovered any) {
	d.cfg.Metrics.panics.Inc()
	d.log.LogAttrs(context.Background(), slog.LevelError, "door panic",
		slog.Uint64(telemetry.KeySession, s.conn.Session),
		slog.String(telemetry.KeyPeer, peerOf(s.conn)),
		slog.Any(telemetry.KeyPanic, recovered),
		slog.String(telemetry.KeyStack, string(debug.Stack())))
}

// peerOf is the client's address, "unknown" when a front end said by XCLIENT
// that it does not know.
func peerOf(conn *smtpserver.Conn) string {
	if !conn.Remote.IsValid() {
		return "unknown"
	}
	return conn.Remote.String()
}

func about(conn *smtpserver.Conn, phase string, reply smtp.Reply) []slog.Attr {
	return []slog.Attr{
		slog.Uint64(telemetry.KeySession, conn.Session),
		slog.String(telemetry.KeyListener, conn.Listener),
		slog.String(telemetry.KeyPeer, peerOf(conn)),
		slog.String(telemetry.KeyHello, conn.Hello),
		slog.String(telemetry.KeyPhase, phase),
		slog.Int(telemetry.KeyCode, reply.Code),
		slog.String(telemetry.KeyEnhanced, reply.Enhanced.String()),
	}
}

// refusedEvent is what the spool's event log keeps of refused content.
func (c *content) refusedEvent() spool.RefusedEvent {
	s := c.session
	ev := spool.RefusedEvent{
		Time: s.door.cfg.Clock(), Client: s.conn.Remote, Listener: s.conn.Listener, Hello: s.conn.Hello,
		Reverse: s.tx.reverse, Size: c.size, Reply: c.refusal,
	}
	for _, p := range s.tx.parts {
		ev.Tenant = p.owner.tenant
		for _, r := range p.forward {
			ev.Forward = append(ev.Forward, r.Path)
		}
	}
	if len(s.tx.parts) > 1 { // no tenant sees another's recipients
		ev.Tenant = ""
	}
	return ev
}
