package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"unicode/utf8"

	"github.com/postern-mail/postern/internal/node"
	"github.com/postern-mail/postern/internal/tenant"
	"github.com/postern-mail/postern/internal/yamlfile"
)

type nodeCmd struct {
	Check nodeCheckCmd `cmd:"" help:"Name every problem of the node file and of the tenants, with line and column."`
	Show  nodeShowCmd  `cmd:"" help:"Print every setting in force and where it comes from."`
}

type nodeCheckCmd struct {
	nodeFlags
	File string `arg:"" optional:"" help:"Node file; as --config."`
	JSON bool   `name:"json" help:"For programs."`
}

// checkReport is what `node check --json` prints.
type checkReport struct {
	OK       bool              `json:"ok"`
	File     string            `json:"file"`              // "" when there is none
	Tenants  string            `json:"tenants,omitempty"` // "" when there is none
	Counts   *tenant.Counts    `json:"counts,omitempty"`
	Problems yamlfile.Problems `json:"problems"`
	Warnings []string          `json:"warnings"`
}

// Run checks and prints all problems. The exit status is 1 when there are any.
func (c *nodeCheckCmd) Run(a *app) error {
	if c.File != "" {
		c.Config = c.File
	}
	report, err := c.check(a)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(a.stdout, report)
	} else {
		p := a.paper()
		renderCheck(p, report)
		err = p.done()
	}
	if err == nil && !report.OK {
		err = badNews{errors.New("there are problems")}
	}
	return err
}

func (c *nodeCheckCmd) check(a *app) (*checkReport, error) {
	settings, err := c.settings()
	if err != nil {
		return nil, err
	}
	report := &checkReport{File: c.Config, Problems: yamlfile.Problems{}, Warnings: []string{}}
	loaded, err := node.Load(node.Options{File: c.Config, Environ: a.environ, Settings: settings})
	if err != nil {
		return report, report.take(err)
	}
	report.File = loaded.File
	report.Warnings = append(report.Warnings, loaded.Warnings...)
	report.certificate(loaded)
	if err := report.tenants(loaded); err != nil {
		return nil, err
	}
	report.OK = len(report.Problems) == 0
	return report, nil
}

// certificate notes what is wrong with the configured certificate and its key.
func (r *checkReport) certificate(l *node.Loaded) {
	c := &l.Config.TLS
	if c.Certificate == "" {
		return
	}
	_, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err == nil {
		return
	}
	at := "tls.certificate"
	if file := new(fs.PathError); errors.As(err, &file) && file.Path == c.Key {
		at = "tls.key"
	}
	r.Problems = append(r.Problems, l.Explain(yamlfile.Problem{Path: at, Message: err.Error()}))
}

// tenants notes what is wrong with the file of tenants. One that nobody named
// may be absent.
func (r *checkReport) tenants(l *node.Loaded) error {
	file, named := l.Config.TenantsFile()
	snapshot, err := tenant.Load(file)
	absent := errors.Is(err, fs.ErrNotExist)
	switch {
	case absent && !named:
		return nil
	case absent:
		r.Problems = append(r.Problems, l.Explain(yamlfile.Problem{Path: "tenants", Message: err.Error()}))
		return nil
	}
	r.Tenants = file
	if err != nil {
		return r.take(err)
	}
	counts := snapshot.Counts()
	r.Counts = &counts
	return nil
}

// take notes err when it is about what a file says, and returns it when not.
func (r *checkReport) take(err error) error {
	var problems yamlfile.Problems
	if !errors.As(err, &problems) {
		return err
	}
	r.Problems = append(r.Problems, problems...)
	return nil
}

func renderCheck(p *paper, r *checkReport) {
	for _, problem := range r.Problems {
		p.line("%s", problem.Error())
	}
	for _, warning := range r.Warnings {
		p.hang(0, "warning: "+clean(warning))
	}
	if len(r.Problems) > 0 {
		p.line("%s", p.paint(red, plural(int64(len(r.Problems)), "problem")))
		return
	}
	file := r.File
	if file == "" {
		file = "no node file, the defaults"
	}
	p.line("%s: %s", clean(file), p.paint(green, "sound"))
	if c := r.Counts; c != nil {
		p.line("%s: %s, %s, %s, %s, %s", clean(r.Tenants), p.paint(green, "sound"), plural(int64(c.Tenants), "tenant"),
			plural(int64(c.Domains), "domain"), plural(int64(c.Recipients), "listed recipient"), plural(int64(c.Users), "user"))
		return
	}
	p.line("no tenants yet: no file of them is there")
}

type nodeShowCmd struct {
	nodeFlags
	Changed bool `help:"Only what is not a default."`
	JSON    bool `name:"json" help:"For programs."`
}

// Run prints the effective values.
func (c *nodeShowCmd) Run(a *app) error {
	loaded, err := c.load(a, nil)
	if err != nil {
		return err
	}
	values := []node.Value{}
	for _, v := range loaded.Effective() {
		if !c.Changed || v.Source != node.FromDefault {
			values = append(values, v)
		}
	}
	if c.JSON {
		return writeJSON(a.stdout, values)
	}
	p := a.paper()
	renderValues(p, values)
	return p.done()
}

// renderValues prints one setting a line; the origin follows, where it is not
// the default, on a line of its own if it does not fit.
func renderValues(p *paper, values []node.Value) {
	for _, v := range values {
		value := clean(v.Value)
		if value == "" {
			value = `""`
		}
		text := fmt.Sprintf("%-34s %s", v.Path, value)
		if v.Source == node.FromDefault {
			p.line("%s", text)
			continue
		}
		origin := string(v.Source)
		if v.Where != "" {
			origin += " " + clean(v.Where)
		}
		if utf8.RuneCountInString(text)+4+utf8.RuneCountInString(origin) <= width {
			p.line("%s  # %s", text, p.paint(yellow, origin))
			continue
		}
		p.line("%s", text)
		p.line("%34s # %s", "", p.paint(yellow, origin))
	}
}
