package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/auditor"
	"github.com/postern-mail/postern/internal/control"
)

type auditCmd struct {
	dirFlags
	Dir  string `placeholder:"COPY" help:"Audit this copy of a data directory instead, with code of its own and no node running."`
	JSON bool   `name:"json" help:"For programs."`
}

// errUnbalanced is the answer that nobody wants.
var errUnbalanced = errors.New("the ledger does not balance")

// Run audits and prints the ledger. The exit status is 1 when it does not
// balance.
func (c *auditCmd) Run(a *app) error {
	report, err := c.audit(a)
	if errors.Is(err, control.ErrNoNode) {
		return fmt.Errorf("%w; or audit what it left: postern audit --dir DIR", err)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(a.stdout, report)
	} else {
		p := a.paper()
		renderAudit(p, report)
		err = p.done()
	}
	if err == nil && !report.Balanced {
		err = badNews{errUnbalanced}
	}
	return err
}

func (c *auditCmd) audit(a *app) (*control.AuditReport, error) {
	if c.Dir != "" {
		return auditOffline(a.ctx, c.Dir, a.now)
	}
	report, err := ask[control.AuditReport](a, &c.dirFlags, control.CallAudit, control.None{}, 0)
	return &report, err
}

// auditOffline runs the auditor on a copy and says its findings in the words
// of the online audit.
func auditOffline(ctx context.Context, dir string, now func() time.Time) (*control.AuditReport, error) {
	began := now()
	found, err := auditor.Audit(ctx, dir, auditor.Options{})
	if err != nil {
		return nil, err
	}
	report := &control.AuditReport{
		Balanced: found.Sound, Where: found.Dir, Tenants: []control.TenantLedger{}, Problems: offlineProblems(found),
		Messages: found.Counts.Live + found.Counts.Lost, Seconds: now().Sub(began).Seconds(),
	}
	for _, t := range found.Ledger {
		report.Tenants = append(report.Tenants, control.TenantLedger{
			Tenant:    t.Tenant,
			Accepted:  t.Sources["inbound"] + t.Sources["trusted"] + t.Sources["submitted"] + t.Sources["other"],
			Generated: t.Sources["report"],
			Delivered: t.Terminal["delivered"], Bounced: t.Terminal["bounced"], DSNSuppressed: t.Terminal["dsn-suppressed"],
			Discarded: t.Terminal["discarded"], Deleted: t.Terminal["deleted"],
			Held: t.Held, Lost: t.Lost,
		})
	}
	return report, nil
}

func offlineProblems(found *auditor.Report) []control.AuditProblem {
	problems := []control.AuditProblem{}
	add := func(p control.AuditProblem) { problems = append(problems, p) }
	for _, m := range found.Lost {
		for _, r := range m.Recipients {
			add(control.AuditProblem{What: "lost", ID: m.ID.String(), Tenant: m.Tenant, Path: r.Path, Where: m.Where, Detail: m.Why})
		}
	}
	for _, d := range found.Damage {
		what := "damaged"
		if d.Known {
			what = "damaged (known)"
		}
		add(control.AuditProblem{What: what, ID: word(d.ID), Where: fmt.Sprintf("%s at %d", d.File, d.Offset), Detail: d.What})
	}
	for _, d := range found.Drafts {
		add(control.AuditProblem{What: "draft", ID: word(d.ID), Where: d.File, Detail: d.What})
	}
	for _, d := range found.Differences {
		add(control.AuditProblem{What: "different", ID: word(d.ID), Tenant: d.Tenant, Detail: d.What})
	}
	for _, t := range found.Ledger {
		if t.Missing != 0 {
			add(control.AuditProblem{What: "unbalanced", Tenant: t.Tenant, Detail: fmt.Sprintf("%d recipients are unaccounted for", t.Missing)})
		}
	}
	return problems
}

// word prints an ID, or nothing for none.
func word(id interface {
	IsZero() bool
	String() string
},
) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

// renderAudit prints the ledger, one column a tenant's, one row a disposition,
// so that large numbers fit.
func renderAudit(p *paper, r *control.AuditReport) {
	where := ""
	if r.Where != "online" {
		where = " of " + clean(r.Where)
	}
	verdict := p.paint(green, "balances")
	if !r.Balanced {
		verdict = p.paint(red, "DOES NOT BALANCE")
	}
	p.line("The ledger%s %s.", where, verdict)
	p.line("%s looked at, %s read, %.1f s.", plural(r.Messages, "live message"), octets(r.Octets), r.Seconds)
	for _, t := range r.Tenants {
		renderLedger(p, t)
	}
	if len(r.Problems) > 0 {
		p.line("\n%s", p.paint(red, plural(int64(len(r.Problems)), "problem")))
	}
	for _, problem := range r.Problems {
		renderProblem(p, &problem)
	}
}

func renderLedger(p *paper, t control.TenantLedger) {
	name := "Tenant " + clean(t.Tenant)
	if t.Tenant == "" {
		name = "The node itself"
	}
	p.line("\n%s", p.paint(bold, name))
	row := func(label string, n int64) {
		if n != 0 {
			p.line("  %-28s %16s", label, group(n))
		}
	}
	row("accepted recipients", t.Accepted)
	row("generated (reports)", t.Generated)
	p.line("  %-28s %16s", "sources", group(t.Accepted+t.Generated))
	row("- delivered", t.Delivered)
	row("- bounced", t.Bounced)
	row("- report not allowed", t.DSNSuppressed)
	row("- discarded by policy", t.Discarded)
	row("- deleted by an operator", t.Deleted)
	row("- held here", t.Held)
	row("- lost to damage, named", t.Lost)
	difference := group(t.Difference())
	if t.Difference() != 0 {
		difference = p.paint(red, strings.Repeat(" ", max(0, 16-len(difference)))+difference)
	}
	p.line("  %-28s %16s", "unaccounted for", difference)
}

func renderProblem(p *paper, a *control.AuditProblem) {
	p.hang(2, strings.Join(nonEmpty(clean(a.What), clean(a.ID), tenantWord(a.Tenant), pathWord(a.Path)), " "))
	p.hang(4, strings.Join(nonEmpty(clean(a.Where), clean(a.Detail)), ": "))
}

func tenantWord(t string) string {
	if t == "" {
		return ""
	}
	return "tenant " + clean(t)
}

func pathWord(s string) string {
	if s == "" {
		return ""
	}
	return path(s)
}

func nonEmpty(words ...string) []string {
	var all []string
	for _, w := range words {
		if w != "" {
			all = append(all, w)
		}
	}
	return all
}
