package edge

import (
	"context"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

// Rcpt decides on one forward-path.
func (s *session) Rcpt(_ context.Context, to smtp.Path, p smtp.RcptParams) smtp.Reply {
	owner, reply := s.route(&to)
	if !reply.IsZero() {
		s.door.logRefused(s, reply, "rcpt", to)
		return reply
	}
	s.tx.add(owner, envelope.Recipient{Path: to, Params: p})
	telemetry.FailPoint("edge.rcpt")
	return smtp.Reply{}
}

// owner is in whose name a recipient's mail is kept.
type owner struct{ tenant, region string }

// route returns whom the recipient belongs to, or a refusal. The bare
// <postmaster> becomes the node's postmaster.
func (s *session) route(to *smtp.Path) (owner, smtp.Reply) {
	tx := &s.tx
	match := tx.snapshot.Lookup(*to)
	switch match.Kind {
	case tenant.NoSuchUser:
		return owner{}, smtp.NoSuchUser()
	case tenant.NotOurs:
		if tx.kind == envelope.Inbound || to.Domain == "" {
			return owner{}, smtp.RelayDenied()
		}
	}
	// A report has one recipient: a null reverse-path with more of them is
	// how a taken-over account would hide (RFC 5321 section 4.5.5; chosen).
	if tx.kind == envelope.Submitted && tx.reverse.IsNull() && tx.count == 1 {
		return owner{}, smtp.TooManyRecipients()
	}
	if match.Kind == tenant.NotOurs {
		return tx.foreignOwner(), smtp.Reply{}
	}
	*to = match.Forward
	return owner{match.Tenant, match.Region}, smtp.Reply{}
}

// foreignOwner is in whose name mail goes to a domain that is not ours: the
// sender's; for a network of the node, that of the reverse-path's domain, the
// node's own when that is not ours either.
func (tx *transaction) foreignOwner() owner {
	if tx.sender != "" || tx.kind != envelope.Trusted {
		return owner{tx.sender, tx.snapshot.Region(tx.sender)}
	}
	match := tx.snapshot.Lookup(tx.reverse)
	return owner{match.Tenant, match.Region}
}

// add puts r into its owner's part. Owners in one transaction are few: a
// linear search is quicker than a map.
func (tx *transaction) add(who owner, r envelope.Recipient) {
	tx.count++
	for i := range tx.parts {
		if tx.parts[i].owner == who {
			tx.parts[i].forward = append(tx.parts[i].forward, r)
			return
		}
	}
	tx.parts = append(tx.parts, part{owner: who, forward: []envelope.Recipient{r}})
}

// only returns the recipient when there is exactly one, else the zero Path.
func (tx *transaction) only() smtp.Path {
	if tx.count != 1 {
		return smtp.Path{}
	}
	return tx.parts[0].forward[0].Path
}
