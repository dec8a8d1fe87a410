package edge

import (
	"context"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpserver"
	"github.com/postern-mail/postern/internal/spool"
	"github.com/postern-mail/postern/internal/telemetry"
)

// content is one message on its way into the spool.
type content struct {
	session *session
	draft   *spool.Draft // nil after it was given up or committed
	id      envelope.ID  // the first part's
	begun   time.Time
	scan    scan
	size    int64 // octets from the client
	refusal smtp.Reply
	why     error // what the refusal stands for, nil when the client caused it
}

// Content opens the draft, with our Received field in front.
func (s *session) Content(ctx context.Context) (smtpserver.Content, smtp.Reply) {
	telemetry.FailPoint("edge.data.begin")
	if err := s.door.cfg.Spool.Room(s.tx.params.Size); err != nil {
		return nil, s.doubt("data", err)
	}
	draft, err := s.door.cfg.Spool.NewDraft(ctx)
	if err != nil {
		return nil, s.doubt("data", err)
	}
	c := &content{session: s, draft: draft, id: s.door.cfg.Spool.NextID(), begun: s.door.cfg.Clock()}
	field := appendReceived(make([]byte, 0, 512), trace{
		hello: s.conn.Hello, client: s.conn.Remote.Addr(), host: s.door.cfg.Hostname,
		protocol: s.conn.Protocol(), tls: s.conn.TLSText, id: c.id, forward: s.tx.only(), time: c.begun,
	})
	if _, err := draft.Write(field); err != nil {
		draft.Abort()
		return nil, s.doubt("data", err)
	}
	return c, smtp.Reply{}
}

// doubt turns trouble of ours into a reply and logs it.
func (s *session) doubt(phase string, err error) smtp.Reply {
	reply := replyFor(err)
	s.door.logDeferred(s, reply, phase, err)
	return reply
}

// Write takes the next octets of content. It never fails: trouble is kept and
// said at the end of data, so that the client hears a reply instead of a
// closed connection, and the rest of the content is passed over.
func (c *content) Write(p []byte) (int, error) {
	c.size += int64(len(p))
	if c.draft == nil {
		return len(p), nil
	}
	c.scan.write(p)
	if c.scan.hops > c.session.door.cfg.MaxHops {
		c.giveUp(smtp.Loop(), nil)
		return len(p), nil
	}
	if _, err := c.draft.Write(p); err != nil {
		c.giveUp(replyFor(err), err)
	}
	return len(p), nil
}

func (c *content) giveUp(reply smtp.Reply, why error) {
	c.draft.Abort()
	c.draft, c.refusal, c.why = nil, reply, why
}

// Abort forgets content that did not end well.
func (c *content) Abort() {
	if c.draft != nil {
		c.draft.Abort()
		c.draft = nil
	}
}

// Commit takes custody, or says why not.
func (c *content) Commit(ctx context.Context) (reply smtp.Reply) {
	defer func() {
		if r := recover(); r != nil {
			c.session.door.logPanic(c.session, r)
			c.Abort()
			reply = smtp.LocalError()
		}
	}()
	telemetry.FailPoint("edge.data.end")
	if c.draft == nil {
		return c.refuse()
	}
	envs := c.envelopes()
	draft := c.draft
	c.draft = nil // the spool's from here on, whatever it says
	if err := c.session.door.cfg.Spool.Commit(ctx, draft, envs, nil); err != nil {
		return c.session.doubt("end-of-data", err)
	}
	c.handOver(envs)
	telemetry.FailPoint("edge.before-250")
	return smtp.Accepted(c.id.String())
}

// envelopes makes one envelope per tenant.
func (c *content) envelopes() []*envelope.Envelope {
	s, tx := c.session, &c.session.tx
	conn := s.conn
	size := c.draft.Size()
	arrival := envelope.Arrival{
		Time: s.door.cfg.Clock(), Client: conn.Remote, Server: conn.Local, Listener: conn.Listener,
		Hello: conn.Hello, Protocol: conn.Protocol(), TLS: conn.TLSText, User: s.login,
	}
	envs := make([]*envelope.Envelope, len(tx.parts))
	for i := range tx.parts {
		id := c.id
		if i > 0 {
			id = s.door.cfg.Spool.NextID()
		}
		envs[i] = &envelope.Envelope{
			ID: id, Tenant: tx.parts[i].owner.tenant, Region: tx.parts[i].owner.region, Kind: tx.kind, Arrival: arrival,
			Reverse: tx.reverse, Params: tx.params, Forward: tx.parts[i].forward, Size: size,
			Hops: uint16(c.scan.hops), EightBit: c.scan.eightBit, UTF8: c.scan.utf8 || !tx.only().ASCII(),
		}
	}
	return envs
}

// handOver tells the queue and the log of mail that is durable. What goes
// wrong here must not become a refusal: the queue's scan finds the mail.
func (c *content) handOver(envs []*envelope.Envelope) {
	defer func() {
		if r := recover(); r != nil {
			c.session.door.logPanic(c.session, r)
		}
	}()
	c.session.door.logAccepted(c.session.conn, envs)
	for _, env := range envs {
		c.session.door.cfg.Queue.Offer(env)
	}
}

// refuse answers the end of data that is not taken in.
func (c *content) refuse() smtp.Reply {
	s := c.session
	if c.why != nil {
		s.door.logDeferred(s, c.refusal, "end-of-data", c.why)
		return c.refusal
	}
	s.door.logRefused(s, c.refusal, "end-of-data", s.tx.only())
	s.door.cfg.Spool.Refused(c.refusedEvent())
	return c.refusal
}
