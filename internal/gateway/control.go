package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/queue"
	"github.com/postern-mail/postern/internal/spool"
)

// Bounds of what one call shows, chosen: a person reads, a script asks again.
const (
	traceDefault = 50
	traceMax     = 1000
	summaryPaths = 10
	inboxDefault = 20
)

// answerCalls registers what the command line may ask.
func (g *gateway) answerCalls(s *control.Server) {
	control.Handle(s, control.CallHealth, control.Observer, g.askHealth)
	control.Handle(s, control.CallStop, control.Operator, g.askStop)
	control.Handle(s, control.CallReload, control.Operator, g.askReload)
	control.Handle(s, control.CallTrace, control.Operator, g.askTrace)
	control.HandleStream(s, control.CallQueueList, control.Operator, g.askQueueList)
	control.Handle(s, control.CallQueueSummary, control.Observer, g.askQueueSummary)
	control.Handle(s, control.CallAudit, control.Operator, g.askAudit)
	if g.demo != nil {
		control.HandleStream(s, control.CallDemoInbox, control.Operator, g.askInbox)
	}
}

func (g *gateway) askHealth(context.Context, control.None) (control.Health, error) {
	return g.health.report(g.clock()), nil
}

func (g *gateway) askStop(_ context.Context, req control.StopRequest) (control.StopReply, error) {
	if req.DrainSeconds < 0 || req.DrainSeconds > maxDrain.Seconds() {
		return control.StopReply{}, control.Errorf(control.CodeBadRequest, "drain_seconds: want 0 to %v", maxDrain.Seconds())
	}
	g.requestStop(time.Duration(req.DrainSeconds * float64(time.Second)))
	return control.StopReply{PID: g.pid}, nil
}

func (g *gateway) askReload(context.Context, control.None) (control.ReloadReply, error) {
	reply, err := g.reload()
	if err != nil {
		return reply, control.Errorf(control.CodeBadRequest, "%v", err)
	}
	return reply, nil
}

func (g *gateway) askTrace(ctx context.Context, req control.TraceRequest) (control.TraceReply, error) {
	if strings.Contains(req.Query, "@") || req.Query == "postmaster" {
		return g.traceAddress(ctx, req)
	}
	id, err := g.resolve(req.Query)
	if err != nil {
		return control.TraceReply{}, err
	}
	message, err := g.trace(ctx, id)
	return control.TraceReply{Message: message}, err
}

// resolve finds the one ID that a person means.
func (g *gateway) resolve(query string) (envelope.ID, error) {
	if id, err := envelope.ParseID(query); err == nil {
		return id, nil
	}
	if len(query) < envelope.MinSuffix {
		return envelope.ID{}, control.Errorf(control.CodeBadRequest,
			"%q is neither an address nor an ID: want at least %d of its last characters", query, envelope.MinSuffix)
	}
	ids, err := g.spool.Resolve(query)
	if err != nil {
		return envelope.ID{}, err
	}
	switch len(ids) {
	case 0:
		return envelope.ID{}, control.Errorf(control.CodeNotFound, "no message whose ID ends in %s", query)
	case 1:
		return ids[0], nil
	}
	return envelope.ID{}, control.Errorf(control.CodeAmbiguous, "%d messages have IDs that end in %s: give more of it", len(ids), query)
}

// trace tells a message's story from the event log, and where it stands from
// the index while it is live.
func (g *gateway) trace(ctx context.Context, id envelope.ID) (*control.Message, error) {
	var m *control.Message
	env, statuses, err := g.spool.Envelope(id)
	switch {
	case err == nil:
		m = messageOf(env)
	case errors.Is(err, spool.ErrDamaged):
		m = &control.Message{ID: id.String(), Damage: err.Error()}
	case !errors.Is(err, spool.ErrGone):
		return nil, err
	}
	err = g.spool.Events(ctx, spool.Filter{ID: id}, func(ev spool.Event) bool {
		if m == nil && ev.Envelope != nil {
			m = messageOf(ev.Envelope)
		}
		if m != nil {
			happened(m, &ev)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, control.Errorf(control.CodeNotFound, "no message %s: never taken in here, or older than the event log", id)
	}
	stand(m, statuses)
	return m, nil
}

// traceAddress lists messages from or to an address, newest first.
func (g *gateway) traceAddress(ctx context.Context, req control.TraceRequest) (control.TraceReply, error) {
	if req.Limit <= 0 {
		req.Limit = traceDefault
	}
	req.Limit = min(req.Limit, traceMax)
	found := map[envelope.ID]*control.Message{}
	var order []envelope.ID
	filter := spool.Filter{Address: req.Query, Since: req.Since, Limit: req.Limit + 1}
	err := g.spool.Events(ctx, filter, func(ev spool.Event) bool {
		m := found[ev.ID]
		if m == nil && ev.Envelope != nil {
			m = messageOf(ev.Envelope)
			found[ev.ID] = m
			order = append(order, ev.ID)
		}
		if m != nil {
			happened(m, &ev)
		}
		return true
	})
	if err != nil {
		return control.TraceReply{}, err
	}
	reply := control.TraceReply{Matches: []control.MessageSummary{}, More: len(order) > req.Limit}
	for i := len(order) - 1; i >= 0 && len(reply.Matches) < req.Limit; i-- {
		reply.Matches = append(reply.Matches, summaryOf(found[order[i]]))
	}
	return reply, nil
}

func summaryOf(m *control.Message) control.MessageSummary {
	s := control.MessageSummary{
		ID: m.ID, Tenant: m.Tenant, Reverse: m.Reverse, Total: len(m.Recipients), Size: m.Size, Recipients: []string{},
	}
	if len(m.Events) > 0 {
		s.Time = m.Events[0].Time
	}
	for i, r := range m.Recipients {
		if i < summaryPaths {
			s.Recipients = append(s.Recipients, r.Path)
		}
		if i > 0 && r.State != s.State {
			s.State = "mixed"
			continue
		}
		s.State = r.State
	}
	return s
}

func (g *gateway) askQueueList(ctx context.Context, req control.QueueListRequest, emit func(control.QueueItem) error) error {
	filter := queue.Filter{NextHop: req.NextHop, Tenant: req.Tenant, Domain: req.Domain}
	for shown := 0; ; {
		if req.Limit > 0 {
			filter.Limit = req.Limit - shown
		}
		page, err := g.queue.List(ctx, filter)
		if err != nil {
			return err
		}
		for i := range page.Items {
			if err := emit(queueItem(&page.Items[i])); err != nil {
				return err
			}
			shown++
		}
		if !page.More || req.Limit > 0 && shown >= req.Limit {
			return nil
		}
		filter.After = page.Next
	}
}

func (g *gateway) askQueueSummary(context.Context, control.None) (control.QueueSummary, error) {
	summary := g.queue.Summary()
	return queueSummary(&summary), nil
}

func (g *gateway) askAudit(ctx context.Context, _ control.None) (control.AuditReport, error) {
	report, err := g.spool.Audit(ctx)
	if err != nil {
		return control.AuditReport{}, err
	}
	return auditReport(report), nil
}

func (g *gateway) askInbox(_ context.Context, req control.InboxRequest, emit func(control.InboxMessage) error) error {
	if req.Limit <= 0 {
		req.Limit = inboxDefault
	}
	list := g.demo.Inbox().Messages()
	list = list[max(0, len(list)-req.Limit):]
	for i := range list {
		m := inboxMessage(&list[i])
		if req.Content {
			content, err := g.demo.Inbox().Read(list[i].Number)
			if err != nil {
				continue // removed meanwhile: the inbox is bounded
			}
			m.Content = string(content)
		}
		if err := emit(m); err != nil {
			return err
		}
	}
	return nil
}
