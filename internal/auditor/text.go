package auditor

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// named is how many findings of a sort the text form prints; the JSON form has
// them all. Chosen: two screens.
const named = 50

// WriteText writes the report for people, 80 columns wide where addresses
// allow.
func (r *Report) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.line("Audit of %s", printable(r.Dir))
	verdict := "SOUND: nothing is lost, missing, damaged or different."
	if !r.Sound {
		verdict = "NOT SOUND: see below."
	}
	p.line("%s", verdict)
	p.line("")
	p.line("%d batches, %d records, %d events in %d directories; %d messages live.",
		r.Counts.Batches, r.Counts.Records, r.Counts.Events, len(r.Incarnations), r.Counts.Live)
	for _, i := range r.Incarnations {
		note := ""
		if i.Adopted {
			note = ", adopted by another"
		}
		p.line("  %s  %d segments, synced to batch %d, events to %d%s", i.Name, i.Segments, i.Synced, i.Through, note)
	}
	r.writeLedger(p)
	section(p, "Lost: accepted, neither terminal nor live", r.Counts.Lost, r.Lost, writeMessage)
	section(p, "Damage", r.Counts.Damage, r.Damage, writeDamage)
	section(p, "Differences", r.Counts.Differences, r.Differences, writeDifference)
	section(p, "Draft files", r.Counts.Drafts, r.Drafts, func(p *printer, d Draft) {
		p.line("  %-8s %s", d.What, printable(d.File))
		if !d.ID.IsZero() {
			p.line("           named by %s", d.ID)
		}
	})
	section(p, "Torn or abandoned, never acknowledged", r.Counts.Torn, r.Torn, writeDamage)
	section(p, "Live", r.Counts.Live, r.Live, writeMessage)
	return p.err
}

func (r *Report) writeLedger(p *printer) {
	if len(r.Ledger) == 0 {
		return
	}
	p.line("")
	since := ""
	if !r.Since.IsZero() {
		since = " since " + r.Since.Format(time.RFC3339)
	}
	p.line("Ledger%s (recipients)", since)
	if r.Restarted {
		p.line("  No checkpoint knew the older sums: the count begins with the log.")
	}
	p.line("  %-27s %9s %9s %9s %9s %8s", "tenant", "sources", "terminal", "held", "lost", "missing")
	for _, t := range r.Ledger {
		p.line("  %-27.27s %9d %9d %9d %9d %8d", printable(orDash(t.Tenant)), sum(t.Sources), sum(t.Terminal), t.Held, t.Lost, t.Missing)
	}
}

func sum(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

func section[T any](p *printer, title string, count int64, list []T, each func(*printer, T)) {
	if count == 0 {
		return
	}
	p.line("")
	p.line("%s: %d", title, count)
	for _, v := range list[:min(len(list), named)] {
		each(p, v)
	}
	if rest := count - int64(min(len(list), named)); rest > 0 {
		p.line("  ... and %d more (--json names them)", rest)
	}
}

func writeMessage(p *printer, m Message) {
	p.line("  %s  %s  from %s", m.ID, printable(orDash(m.Tenant)), printable(m.Reverse))
	when := ""
	if !m.Arrival.IsZero() {
		when = m.Arrival.Format("2006-01-02 15:04:05Z") + ", "
	}
	p.line("    %s%d octets", when, m.Octets)
	p.line("    %s", printable(m.Where))
	if m.Why != "" {
		p.line("    %s", m.Why)
	}
	for _, r := range m.Recipients[:min(len(m.Recipients), named)] {
		p.line("    %-14s %s", r.State, printable(r.Path))
	}
	if rest := len(m.Recipients) - named; rest > 0 {
		p.line("    ... and %d more recipients", rest)
	}
}

func writeDamage(p *printer, d Damage) {
	known := ""
	if d.Known {
		known = " (known to the spool)"
	}
	if d.Redundant {
		known += " (its twin is good)"
	}
	p.line("  %s at %d, %d octets%s", printable(d.File), d.Offset, d.Octets, known)
	detail := d.What
	if d.Batch != 0 {
		detail += fmt.Sprintf(", batch %d", d.Batch)
	}
	if d.Record != "" {
		detail += ", " + d.Record + " record"
	}
	p.line("    %s", detail)
	if !d.ID.IsZero() {
		p.line("    of message %s", d.ID)
	}
}

func writeDifference(p *printer, d Difference) {
	if d.ID.IsZero() {
		p.line("  %s", d.What)
		return
	}
	p.line("  %s  %s", d.ID, printable(orDash(d.Tenant)))
	p.line("    %s", d.What)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable keeps what strangers chose from steering a terminal.
func printable(s string) string {
	bad := func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd }
	if !slices.ContainsFunc([]rune(s), bad) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if bad(r) {
			return '?'
		}
		return r
	}, s)
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
