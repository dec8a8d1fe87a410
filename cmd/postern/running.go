package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/telemetry"
)

type reloadCmd struct {
	dirFlags
	JSON bool `name:"json" help:"For programs."`
}

// Run has the node read its tenants again. When the file has problems, the
// node keeps what it has, and they are printed.
func (c *reloadCmd) Run(a *app) error {
	reply, err := ask[control.ReloadReply](a, &c.dirFlags, control.CallReload, control.None{}, 10*callTimeout)
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if c.JSON {
		return writeJSON(a.stdout, reply)
	}
	p := a.paper()
	renderReload(p, &reply)
	return p.done()
}

func renderReload(p *paper, r *control.ReloadReply) {
	if r.Before == r.Revision {
		p.line("%s has not changed (revision %s).", clean(r.File), short(r.Revision))
	} else {
		p.hang(0, fmt.Sprintf("%s is in force: revision %s, was %s.", clean(r.File), short(r.Revision), short(r.Before)))
	}
	p.line("%s, %s, %s.", plural(int64(r.Tenants), "tenant"), plural(int64(r.Domains), "domain"), plural(int64(r.Users), "user"))
	for _, note := range r.Notes {
		p.hang(0, clean(note))
	}
}

// short cuts a revision to what one compares by eye.
func short(revision string) string {
	if revision == "" {
		return "none"
	}
	return clean(revision[:min(12, len(revision))])
}

type healthCmd struct {
	dirFlags
	JSON bool `name:"json" help:"For programs."`
}

// Run prints the node's health. The exit status is 1 when it is not ready.
func (c *healthCmd) Run(a *app) error {
	h, err := ask[control.Health](a, &c.dirFlags, control.CallHealth, control.None{}, callTimeout)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(a.stdout, h)
	} else {
		p := a.paper()
		renderHealth(p, &h)
		err = p.done()
	}
	if err == nil && !h.Ready {
		err = badNews{errors.New("the node is not ready")}
	}
	return err
}

func renderHealth(p *paper, h *control.Health) {
	verdict := p.paint(green, "ready")
	if !h.Ready {
		verdict = p.paint(red, "NOT READY")
	}
	p.line("The node is %s, up for %s, tenants revision %s.", verdict, span(time.Duration(h.Uptime*float64(time.Second))), short(h.Revision))
	for _, check := range h.Checks {
		word := p.paint(green, "ok ")
		if !check.OK {
			word = p.paint(red, "BAD")
		}
		p.line("  %s  %s", word, clean(check.Name))
		if check.Detail != "" {
			p.hang(7, clean(check.Detail))
		}
	}
}

type stopCmd struct {
	dirFlags
	Drain time.Duration `placeholder:"SPAN" help:"How long transactions that stand may take; the node's setting by default."`
}

// Run asks the node to stop and says which process will end.
func (c *stopCmd) Run(a *app) error {
	if c.Drain < 0 {
		return usageError("--drain: want a span that is not negative")
	}
	req := control.StopRequest{DrainSeconds: c.Drain.Seconds()}
	reply, err := ask[control.StopReply](a, &c.dirFlags, control.CallStop, req, callTimeout)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "Process %d is stopping.\n", reply.PID)
	return err
}

type versionCmd struct {
	JSON bool `name:"json" help:"For programs."`
}

// Run prints the build.
func (c *versionCmd) Run(a *app) error {
	build := telemetry.Build()
	if c.JSON {
		return writeJSON(a.stdout, build)
	}
	_, err := fmt.Fprintln(a.stdout, strings.TrimSpace(build.String()))
	return err
}
