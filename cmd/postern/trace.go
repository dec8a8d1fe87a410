package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/control"
)

type traceCmd struct {
	dirFlags
	What  string        `arg:"" name:"id|address" help:"A message's ID, at least 8 of its last characters, or an address of its reverse- or forward-path."`
	Since time.Duration `placeholder:"SPAN" help:"By address: none older than this, such as 24h."`
	Limit int           `placeholder:"N" help:"By address: at most so many, the newest; 50 by default."`
	JSON  bool          `name:"json" help:"For programs."`
}

// Run asks the node and prints the message or the list.
func (c *traceCmd) Run(a *app) error {
	req := control.TraceRequest{Query: c.What, Limit: c.Limit}
	if c.Since > 0 {
		req.Since = a.now().Add(-c.Since).UTC()
	}
	reply, err := ask[control.TraceReply](a, &c.dirFlags, control.CallTrace, req, callTimeout)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(a.stdout, reply)
	}
	p := a.paper()
	if reply.Message != nil {
		renderMessage(p, reply.Message)
		return p.done()
	}
	renderMatches(p, c.What, reply)
	if err := p.done(); err != nil || len(reply.Matches) > 0 {
		return err
	}
	return badNews{fmt.Errorf("no message from or to %s", c.What)}
}

// renderMatches prints a search by address.
func renderMatches(p *paper, query string, reply control.TraceReply) {
	if len(reply.Matches) == 0 {
		p.line("No message from or to %s is remembered.", clean(query))
		return
	}
	for _, m := range reply.Matches {
		p.line("%s  %s  %s  %s", p.paint(bold, clean(m.ID)), p.stamp(m.Time), p.state(m.State), octets(m.Size))
		to := make([]string, len(m.Recipients))
		for i, r := range m.Recipients {
			to[i] = path(r)
		}
		if more := m.Total - len(m.Recipients); more > 0 {
			to = append(to, fmt.Sprintf("and %d more", more))
		}
		p.hang(4, path(m.Reverse)+" to "+strings.Join(to, ", "))
	}
	p.line("")
	if reply.More {
		p.line("The newest %d; there are more (--limit).", len(reply.Matches))
	}
	p.line("postern trace ID tells one message's story.")
}

// state paints a recipient's state.
func (p *paper) state(s string) string {
	switch s {
	case "delivered":
		return p.paint(green, s)
	case "queued", "held", "mixed", "deferred":
		return p.paint(yellow, clean(s))
	case "bounced", "dsn-suppressed", "discarded", "deleted":
		return p.paint(red, s)
	}
	return clean(s)
}

// renderMessage prints one message's story.
func renderMessage(p *paper, m *control.Message) {
	p.field("Message", p.paint(bold, clean(m.ID)))
	if m.Parent != "" {
		p.field("About", clean(m.Parent)+" (this is a report on it)")
	}
	p.field("From", path(m.Reverse))
	p.field("Size", fmt.Sprintf("%s, %s passed before", octets(m.Size), plural(int64(m.Hops), "hop")))
	p.field("Kind", clean(m.Kind))
	if m.Tenant != "" {
		p.field("Tenant", strings.TrimSpace(clean(m.Tenant)+" "+clean(m.Region)))
	}
	if m.EnvID != "" {
		p.field("ENVID", clean(m.EnvID))
	}
	renderArrival(p, m.Arrival)
	if m.Damage != "" {
		p.field("Damage", p.paint(red, clean(m.Damage)))
	}
	p.line("\nRecipients")
	for i := range m.Recipients {
		renderRecipient(p, &m.Recipients[i])
	}
	if len(m.Events) > 0 {
		p.line("\nWhat happened")
	}
	day := ""
	for i := range m.Events {
		e := &m.Events[i]
		if today := e.Time.In(p.zone).Format("Monday 2006-01-02 MST"); today != day {
			day = today
			p.line("  %s", day)
		}
		renderEvent(p, e)
	}
}

func renderArrival(p *paper, a *control.Arrival) {
	if a == nil {
		return
	}
	p.field("Arrived", p.stamp(a.Time))
	p.field("", fmt.Sprintf("from %s, HELO %s", cmp.Or(clean(a.Client), "unknown"), cmp.Or(clean(a.Hello), "unknown")))
	p.field("", fmt.Sprintf("%s on %s (%s)", clean(a.Protocol), clean(a.Server), clean(a.Listener)))
	if a.TLS != "" {
		p.field("", clean(a.TLS))
	}
	if a.User != "" {
		p.field("", "logged in as "+clean(a.User))
	}
}

func renderRecipient(p *paper, r *control.Recipient) {
	p.line("  %s", path(r.Path))
	facts := []string{p.state(r.State), plural(int64(r.Attempts), "attempt")}
	if r.NextHop != "" {
		facts = append(facts, "via "+clean(r.NextHop))
	}
	if r.Cause != "" && r.Cause != "none" {
		facts = append(facts, clean(r.Cause))
	}
	if !r.NextAttempt.IsZero() {
		facts = append(facts, fmt.Sprintf("next %s (%s)", p.stamp(r.NextAttempt), p.until(r.NextAttempt)))
	}
	if r.Report != "" {
		facts = append(facts, "report "+clean(r.Report))
	}
	p.hang(4, strings.Join(facts, ", "))
}

// renderEvent prints when and what, and below it the attempt with the peer's
// words, one line for each of its lines.
func renderEvent(p *paper, e *control.Event) {
	what := e.What
	if e.State != "" && !slices.Contains([]string{e.What, "queued"}, e.State) {
		what += " (" + e.State + ")"
	}
	p.line("  %s  %s", e.Time.In(p.zone).Format("15:04:05.000"), p.state(what))
	to := make([]string, len(e.Forward))
	for i, f := range e.Forward {
		to[i] = path(f)
	}
	if len(to) > 0 {
		p.hang(16, strings.Join(to, ", "))
	}
	if a := e.Attempt; a != nil {
		renderAttempt(p, a)
	} else if e.Cause != "" && e.Cause != "none" {
		p.hang(16, clean(e.Cause))
	}
	if e.Detail != "" {
		p.hang(16, clean(e.Detail))
	}
}

func renderAttempt(p *paper, a *control.Attempt) {
	where := fmt.Sprintf("%.0f ms via %s", a.DurationMS, clean(a.NextHop))
	if a.Host != "" {
		where += ", host " + clean(a.Host)
	}
	if a.Peer != "" {
		where += " (" + clean(a.Peer) + ")"
	}
	p.hang(16, where)
	if a.TLS != "" {
		p.hang(16, clean(a.TLS))
	}
	if a.Cause != "" && a.Cause != "none" {
		p.hang(16, "cause: "+p.paint(yellow, clean(a.Cause)))
	}
	for i, text := range a.Reply {
		separator := "-"
		if i == len(a.Reply)-1 {
			separator = " "
		}
		p.hang(16, fmt.Sprintf("%d%s%s", a.Code, separator, clean(text)))
	}
	if a.Detail != "" {
		p.hang(16, clean(a.Detail))
	}
}
