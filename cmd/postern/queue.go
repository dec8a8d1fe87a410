package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/internal/control"
)

type queueCmd struct {
	List    queueListCmd    `cmd:"" help:"List the messages that wait."`
	Summary queueSummaryCmd `cmd:"" help:"Count them by next hop, with the cause."`
}

type queueListCmd struct {
	dirFlags
	Tenant  string `placeholder:"ID" help:"Only this tenant's."`
	NextHop string `placeholder:"HOP" help:"Only those for this next hop, as the summary names it."`
	Domain  string `placeholder:"NAME" help:"Only those with a recipient in this domain."`
	Limit   int    `placeholder:"N" help:"At most so many."`
	JSON    bool   `name:"json" help:"For programs: one object a line."`
}

// Run prints what waits as it comes.
func (c *queueListCmd) Run(a *app) error {
	client, err := c.dial(a)
	if err != nil {
		return err
	}
	defer client.Close()
	req := control.QueueListRequest{Tenant: c.Tenant, NextHop: c.NextHop, Domain: c.Domain, Limit: c.Limit}
	if c.JSON {
		return control.Stream(a.ctx, client, control.CallQueueList, req, jsonLines[control.QueueItem](a.stdout))
	}
	p := a.paper()
	items := 0
	err = control.Stream(a.ctx, client, control.CallQueueList, req, func(item control.QueueItem) error {
		if items++; items == 1 {
			renderQueueHead(p)
		}
		renderQueueItem(p, &item)
		return nil
	})
	if err == nil && items == 0 {
		p.line("Nothing waits.")
	}
	if writing := p.done(); err == nil {
		err = writing
	}
	return err
}

const queueRow = "%-26s  %-7s  %8s  %9s  %5s  %10s"

func renderQueueHead(p *paper) {
	p.line("%s", p.paint(bold, fmt.Sprintf(queueRow, "MESSAGE", "STATE", "AGE", "NEXT TRY", "TRIED", "SIZE")))
}

func renderQueueItem(p *paper, i *control.QueueItem) {
	p.line(queueRow, clean(i.ID), clean(i.State), p.ago(i.Arrived), p.until(i.NextAttempt), group(int64(i.Attempts)), octets(i.Size))
	to := make([]string, 0, 3)
	for _, r := range i.Recipients {
		if len(to) == 3 {
			to = append(to, fmt.Sprintf("and %d more", len(i.Recipients)-3))
			break
		}
		to = append(to, path(r))
	}
	p.hang(4, path(i.Reverse)+" to "+strings.Join(to, ", "))
	why := "via " + clean(i.NextHop)
	if i.Cause != "" && i.Cause != "none" {
		why += ": " + clean(i.Cause)
	}
	if i.LastReply != "" {
		why += ": " + clean(i.LastReply)
	}
	p.hang(4, why)
}

type queueSummaryCmd struct {
	dirFlags
	JSON bool `name:"json" help:"For programs."`
}

// Run prints the summary.
func (c *queueSummaryCmd) Run(a *app) error {
	s, err := ask[control.QueueSummary](a, &c.dirFlags, control.CallQueueSummary, control.None{}, callTimeout)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(a.stdout, s)
	}
	p := a.paper()
	renderSummary(p, &s)
	return p.done()
}

const summaryRow = "%-34s %8s %7s %7s %9s %10s"

func renderSummary(p *paper, s *control.QueueSummary) {
	if s.Messages == 0 {
		p.line("Nothing waits.")
		return
	}
	oldest := ""
	if !s.Oldest.IsZero() {
		oldest = ", the oldest for " + p.ago(s.Oldest)
	}
	p.hang(0, fmt.Sprintf("%s (%s)%s: %s waiting, %s ready, %s active, %s held.", plural(int64(s.Messages), "message"), octets(s.Octets), oldest,
		group(int64(s.Waiting)), group(int64(s.Ready)), group(int64(s.Active)), group(int64(s.Held))))
	if len(s.Hops) == 0 {
		return
	}
	p.line("")
	p.line("%s", p.paint(bold, fmt.Sprintf(summaryRow, "NEXT HOP", "WAITING", "READY", "ACTIVE", "OLDEST", "NEXT TRY")))
	for i := range s.Hops {
		renderHop(p, &s.Hops[i])
	}
}

func renderHop(p *paper, h *control.HopSummary) {
	name := clean(h.NextHop)
	if utf8.RuneCountInString(name) > 34 {
		p.line("%s", name)
		name = ""
	}
	p.line(summaryRow, name, group(int64(h.Waiting)), group(int64(h.Ready)), group(int64(h.Active)), p.ago(h.Oldest), p.until(h.Next))
	why := make([]string, 0, 2)
	if h.Cause != "" && h.Cause != "none" {
		why = append(why, p.paint(yellow, clean(h.Cause)))
	}
	if h.LastReply != "" {
		why = append(why, clean(h.LastReply))
	}
	if len(why) > 0 {
		p.hang(4, strings.Join(why, ": "))
	}
}
