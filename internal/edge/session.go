package edge

import (
	"context"
	"errors"
	"net/netip"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpserver"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

// session is one client's stay. It is used by the one goroutine that serves
// the connection.
type session struct {
	door     *Door
	conn     *smtpserver.Conn
	admitted netip.Addr // whose admission Close gives back
	login    string     // authenticated user, "" when none

	tx transaction
}

// transaction is what lies between MAIL and the end of data. Its zero value is
// no transaction.
type transaction struct {
	snapshot *tenant.Snapshot
	kind     envelope.Kind
	sender   string // tenant of the user or trusted network, "" otherwise
	reverse  smtp.Path
	params   smtp.MailParams
	parts    []part
	count    int // recipients in all parts
}

// part is one owner's share of a transaction.
type part struct {
	owner   owner
	forward []envelope.Recipient
}

// Hello accepts every greeting: what a HELO argument is worth is for filters.
func (s *session) Hello(context.Context) smtp.Reply { return smtp.Reply{} }

// Auth checks the password of a submission user.
func (s *session) Auth(ctx context.Context, _, authzid, login, password string) smtp.Reply {
	// RFC 4616 section 2: another identity to act as may be asked for; nobody
	// may act for another here.
	if authzid != "" && authzid != login {
		s.door.logAuthFailed(s, login)
		return smtp.AuthFailed()
	}
	user, err := s.door.cfg.Passwords.Verify(ctx, s.door.cfg.Tenants.Current(), login, password)
	if errors.Is(err, tenant.ErrPassword) {
		s.door.logAuthFailed(s, login)
		return smtp.AuthFailed()
	}
	if err != nil {
		return s.doubt("auth", err)
	}
	s.login = user.Login
	return smtp.Reply{}
}

// Mail begins a transaction.
func (s *session) Mail(_ context.Context, from smtp.Path, p smtp.MailParams) smtp.Reply {
	s.tx = transaction{snapshot: s.door.cfg.Tenants.Current(), reverse: from, params: p, parts: s.tx.parts[:0]}
	if reply := s.identify(); !reply.IsZero() {
		s.door.logRefused(s, reply, "mail", smtp.Path{})
		return reply
	}
	telemetry.FailPoint("edge.mail")
	return smtp.Reply{}
}

// identify finds out in whose name the transaction comes.
func (s *session) identify() smtp.Reply {
	tx := &s.tx
	if s.login != "" {
		return s.identifyUser()
	}
	if s.conn.Submission {
		return smtp.AuthRequired() // RFC 4954 section 6, RFC 6409 section 4.3
	}
	client := s.conn.Remote.Addr().Unmap()
	tx.kind = envelope.Inbound
	if id, ok := tx.snapshot.TrustedTenant(client); ok {
		tx.kind, tx.sender = envelope.Trusted, id
	} else if s.door.trusts(client) {
		tx.kind = envelope.Trusted
	}
	return smtp.Reply{}
}

func (s *session) identifyUser() smtp.Reply {
	tx := &s.tx
	user, ok := tx.snapshot.User(s.login)
	if !ok { // removed since AUTH
		return smtp.AuthRequired()
	}
	tx.kind, tx.sender = envelope.Submitted, user.Tenant
	if !user.MaySend(tx.reverse) { // the null reverse-path is anybody's own
		return smtp.SenderNotOwned()
	}
	return smtp.Reply{}
}

// Reset forgets the transaction. It keeps the room for parts, not what was in
// it: envelopes that were handed over own their recipients.
func (s *session) Reset() {
	clear(s.tx.parts)
	s.tx = transaction{parts: s.tx.parts[:0]}
}
