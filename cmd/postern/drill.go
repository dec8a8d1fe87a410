package main

import (
	"strings"

	"github.com/postern-mail/postern/internal/drill"
)

type drillCmd struct {
	List drillListCmd `cmd:"" help:"List the drills."`
	Run  drillRunCmd  `cmd:"" help:"Run one drill, or all."`
}

type drillListCmd struct {
	JSON bool `name:"json" help:"For programs."`
}

// Run prints the drills.
func (c *drillListCmd) Run(a *app) error {
	if c.JSON {
		return writeJSON(a.stdout, drill.List())
	}
	p := a.paper()
	renderDrills(p, drill.List())
	return p.done()
}

func renderDrills(p *paper, drills []drill.Entry) {
	for _, d := range drills {
		p.line("%s  %s", p.paint(bold, d.Name), d.Title)
		p.field("  fault", d.Fault)
		p.field("  bar", d.Bar)
		p.field("  parts", strings.Join(d.Parts, ", "))
		p.field("  control", strings.Join(d.Control, ", "))
	}
}

type drillRunCmd struct {
	Name    string   `arg:"" help:"Name of the drill, such as D21, or all."`
	Seed    uint64   `placeholder:"N" help:"Repeat the run with this seed; another is drawn by default."`
	Size    string   `enum:"short,full" default:"short" help:"short judges correctness in about 20 s, full every bar in up to 45 min."`
	Control bool     `help:"Run the control arms instead: the protecting property is removed, and the drill must fail. Needs a drill build."`
	Only    []string `placeholder:"PART" help:"Only these parts."`
	Binary  string   `placeholder:"FILE" help:"The postern that is drilled; this one by default."`
	Report  string   `placeholder:"FILE.html" help:"Write a report, and the same as JSON beside it."`
}

// Run runs the drill. The exit status is 1 when it failed, 3 when a control
// arm passed.
func (c *drillRunCmd) Run(a *app) error {
	return drill.Run(a.ctx, c.Name, drill.Options{
		Seed: c.Seed, Size: drill.Size(c.Size), Control: c.Control, Only: c.Only,
		Binary: c.Binary, Report: c.Report, Out: a.stdout,
	})
}
