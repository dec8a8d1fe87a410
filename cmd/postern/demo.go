package main

import (
	"fmt"
	"strings"

	"github.com/postern-mail/postern/internal/control"
)

type demoCmd struct {
	Inbox demoInboxCmd `cmd:"" help:"List what the sample customer's server got."`
}

type demoInboxCmd struct {
	dirFlags
	Limit   int  `placeholder:"N" help:"At most so many, the newest; 20 by default."`
	Content bool `help:"With the content."`
	JSON    bool `name:"json" help:"For programs: one object a line."`
}

// Run prints the inbox, oldest first.
func (c *demoInboxCmd) Run(a *app) error {
	client, err := c.dial(a)
	if err != nil {
		return err
	}
	defer client.Close()
	if !client.Hello().Demo {
		return fmt.Errorf("the node (process %d) runs without --demo: it has no sample server", client.Hello().PID)
	}
	req := control.InboxRequest{Limit: c.Limit, Content: c.Content}
	if c.JSON {
		return control.Stream(a.ctx, client, control.CallDemoInbox, req, jsonLines[control.InboxMessage](a.stdout))
	}
	p := a.paper()
	messages := 0
	err = control.Stream(a.ctx, client, control.CallDemoInbox, req, func(m control.InboxMessage) error {
		messages++
		renderInbox(p, &m)
		return nil
	})
	if err == nil && messages == 0 {
		p.line("Nothing has arrived yet.")
	}
	if writing := p.done(); err == nil {
		err = writing
	}
	return err
}

// inboxPaths is how many recipients of a message are shown (chosen: three
// lines; --json shows all).
const inboxPaths = 8

func renderInbox(p *paper, m *control.InboxMessage) {
	p.line("%4d  %s  %s", m.Number, p.stamp(m.Time), octets(m.Size))
	to := make([]string, min(len(m.Recipients), inboxPaths))
	for i := range to {
		to[i] = path(m.Recipients[i])
	}
	more := ""
	if n := len(m.Recipients) - len(to); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	p.hang(6, path(m.Reverse)+" to "+strings.Join(to, ", ")+more)
	p.hang(6, "From: "+clean(m.From))
	p.hang(6, "Subject: "+p.paint(bold, clean(m.Subject)))
	if m.ID != "" {
		p.line("      postern trace %s", clean(m.ID))
	}
	if m.Content == "" {
		return
	}
	p.line("")
	for _, line := range strings.Split(strings.TrimRight(m.Content, "\r\n"), "\n") {
		p.line("      %s", clean(strings.ReplaceAll(strings.TrimRight(line, "\r"), "\t", "    ")))
	}
	p.line("")
}
