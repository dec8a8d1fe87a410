package gateway

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/demo"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/queue"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/spool"
)

// This file puts the house's types into the words of the control socket.

// reversePath is "" for the null reverse-path.
func reversePath(p smtp.Path) string {
	if p.IsNull() {
		return ""
	}
	return p.String()
}

func causeWord(c cause.Cause) string {
	if c == cause.None {
		return ""
	}
	return c.String()
}

func idWord(id envelope.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

func addrWord(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// messageOf describes an envelope; recipients stand as queued until statuses
// or events say otherwise.
func messageOf(env *envelope.Envelope) *control.Message {
	m := &control.Message{
		ID: env.ID.String(), Tenant: env.Tenant, Region: env.Region, Kind: env.Kind.String(), Parent: idWord(env.Parent),
		Reverse: reversePath(env.Reverse), Size: env.Size, Hops: int(env.Hops), EnvID: env.Params.EnvID,
	}
	if env.Kind != envelope.Report {
		a := env.Arrival
		m.Arrival = &control.Arrival{
			Time: a.Time, Client: addrWord(a.Client), Server: addrWord(a.Server), Listener: a.Listener,
			Hello: a.Hello, Protocol: a.Protocol, TLS: a.TLS, User: a.User,
		}
	}
	for _, r := range env.Forward {
		m.Recipients = append(m.Recipients, control.Recipient{Path: r.Path.String(), State: envelope.Queued.String()})
	}
	return m
}

// stand puts where each recipient stands into m. For a live message that is
// what the spool's index says.
func stand(m *control.Message, statuses []envelope.Status) {
	for i := range m.Recipients {
		if i >= len(statuses) {
			return
		}
		s, r := &statuses[i], &m.Recipients[i]
		r.State, r.Attempts, r.Cause = s.State.String(), int(s.Attempts), causeWord(s.Cause)
		r.NextAttempt = s.NextAttempt
	}
}

// happened puts one event of the log into m.
func happened(m *control.Message, ev *spool.Event) {
	e := control.Event{Time: ev.Time, Detail: ev.Detail}
	switch ev.Kind {
	case spool.EventAccepted:
		e.What = "accepted"
		if m.Kind == envelope.Report.String() {
			e.What = "generated"
		}
	case spool.EventMoved, spool.EventFinished:
		changed(m, &e, ev.Change)
	case spool.EventLost:
		e.What = "lost"
		m.Damage = ev.Detail
		e.Forward = forwardOf(m, ev.Recipient)
	case spool.EventRefused, spool.EventShed:
		return // belong to no message
	}
	m.Events = append(m.Events, e)
}

// changed describes a change of one recipient and lets it stand there.
func changed(m *control.Message, e *control.Event, c *envelope.Change) {
	e.State, e.Cause, e.What = c.To.String(), causeWord(c.Cause), c.To.String()
	if c.To == envelope.Queued {
		e.What = "deferred"
	}
	e.Forward = forwardOf(m, c.Recipient)
	if c.Attempt != nil {
		e.Attempt = attemptOf(c.Attempt)
	}
	if c.Recipient < 0 || c.Recipient >= len(m.Recipients) {
		return
	}
	r := &m.Recipients[c.Recipient]
	r.State, r.Cause, r.NextAttempt, r.Report = c.To.String(), causeWord(c.Cause), c.NextAttempt, idWord(c.Report)
	if c.Attempt != nil {
		r.Attempts++
		r.NextHop = c.Attempt.NextHop
	}
}

func forwardOf(m *control.Message, recipient int) []string {
	if recipient < 0 || recipient >= len(m.Recipients) {
		return nil
	}
	return []string{m.Recipients[recipient].Path}
}

func attemptOf(a *envelope.Attempt) *control.Attempt {
	out := &control.Attempt{
		Time: a.Time, DurationMS: float64(a.Duration.Microseconds()) / 1000, NextHop: a.NextHop, Host: a.Host,
		Peer: addrWord(a.Peer), TLS: a.TLS, Cause: causeWord(a.Cause), Code: a.Reply.Code, Detail: a.Detail,
	}
	for i, text := range a.Reply.Text {
		if i == 0 && !a.Reply.Enhanced.IsZero() {
			text = strings.TrimSpace(a.Reply.Enhanced.String() + " " + text)
		}
		out.Reply = append(out.Reply, text)
	}
	return out
}

func queueItem(i *queue.Item) control.QueueItem { return control.QueueItem(*i) }

func queueSummary(s *queue.Summary) control.QueueSummary {
	out := control.QueueSummary{
		Time: s.Time, Messages: s.Messages, Waiting: s.Waiting, Ready: s.Ready, Active: s.Active, Held: s.Held,
		Oldest: s.Oldest, Octets: s.Octets, Hops: []control.HopSummary{},
	}
	for i := range s.Hops {
		h := &s.Hops[i]
		out.Hops = append(out.Hops, control.HopSummary{
			NextHop: h.NextHop, Waiting: h.Waiting, Ready: h.Ready, Active: h.Active,
			Oldest: h.Oldest, Next: h.Next, Cause: h.Cause, LastReply: h.LastReply,
		})
	}
	return out
}

func tenantLedger(id string, l *spool.TenantLedger) control.TenantLedger {
	return control.TenantLedger{
		Tenant:        id,
		Accepted:      l.Sources[envelope.Inbound] + l.Sources[envelope.Trusted] + l.Sources[envelope.Submitted],
		Generated:     l.Sources[envelope.Report],
		Delivered:     l.Terminal[envelope.Delivered],
		Bounced:       l.Terminal[envelope.Bounced],
		DSNSuppressed: l.Terminal[envelope.DSNSuppressed],
		Discarded:     l.Terminal[envelope.Discarded],
		Deleted:       l.Terminal[envelope.Deleted],
		Held:          l.Live + l.Held,
		Lost:          l.Lost,
	}
}

// auditReport is balanced when every tenant's ledger is and nothing but mail
// that was never acknowledged is missing.
func auditReport(r *spool.AuditReport) control.AuditReport {
	out := control.AuditReport{
		Balanced: true, Where: "online", Messages: int64(r.Live), Octets: r.Octets, Seconds: r.Duration.Seconds(),
		Tenants: []control.TenantLedger{}, Problems: []control.AuditProblem{},
	}
	for _, id := range slices.Sorted(maps.Keys(r.Ledger.Tenants)) {
		l := r.Ledger.Tenants[id]
		out.Tenants = append(out.Tenants, tenantLedger(id, l))
		out.Balanced = out.Balanced && l.Difference() == 0
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Kind == spool.Torn {
			continue
		}
		out.Balanced = false
		out.Problems = append(out.Problems, problems(f)...)
	}
	return out
}

// problems puts a finding into words, one a recipient where it names several.
func problems(f *spool.Finding) []control.AuditProblem {
	p := control.AuditProblem{What: string(f.Kind), ID: idWord(f.ID), Tenant: f.Tenant, Where: f.Holder, Detail: f.Detail}
	if f.Recipient >= 0 && f.Recipient < len(f.Forward) {
		p.Path = f.Forward[f.Recipient].String()
		return []control.AuditProblem{p}
	}
	if len(f.Forward) == 0 {
		return []control.AuditProblem{p}
	}
	all := make([]control.AuditProblem, len(f.Forward))
	for i, path := range f.Forward {
		all[i] = p
		all[i].Path = path.String()
	}
	return all
}

func inboxMessage(m *demo.Message) control.InboxMessage {
	return control.InboxMessage{
		Number: m.Number, Time: m.Time, ID: m.ID, Reverse: m.Reverse, Recipients: m.Forward,
		Subject: m.Subject, From: m.From, Size: m.Size, TLS: m.TLS,
	}
}
