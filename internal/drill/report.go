package drill

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Report is what one call of Judge found.
type Report struct {
	Binary  string        `json:"binary"`
	Seed    uint64        `json:"seed"`
	Size    Size          `json:"size"`
	Control bool          `json:"control"`
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
	Drills  []*Result     `json:"drills"`
}

// Result is what one drill found.
type Result struct {
	Name  string        `json:"name"`
	Title string        `json:"title"`
	Fault string        `json:"fault"`
	Bar   string        `json:"bar"`
	Parts []*PartResult `json:"parts"`
}

// PartResult is what one part found. It held when it was run and Findings is
// empty.
type PartResult struct {
	Name     string        `json:"name"`
	What     string        `json:"what"`
	Weakness string        `json:"weakness,omitempty"` // set: a control arm, which must fail
	Skipped  string        `json:"skipped,omitempty"`  // why it was not run
	Facts    []Fact        `json:"facts"`
	Findings []string      `json:"findings"` // what must not be
	Took     time.Duration `json:"took_ns"`
	Kept     string        `json:"kept,omitempty"` // directory left for study
}

// Fact is one measured value.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Fact returns the value of the named fact, "" when there is none.
func (p *PartResult) Fact(name string) string {
	for _, f := range p.Facts {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Failed reports whether something that must not be was found.
func (p *PartResult) Failed() bool { return len(p.Findings) > 0 }

// asItShould is true for a part that held and for a control arm that failed.
func (p *PartResult) asItShould() bool { return p.Skipped != "" || p.Failed() == (p.Weakness != "") }

// Verdict is one word or a few for people.
func (p *PartResult) Verdict() string {
	switch {
	case p.Skipped != "":
		return "skipped"
	case p.Weakness != "" && p.Failed():
		return "FAIL, as a control arm must"
	case p.Weakness != "":
		return "PASS: this control proves nothing"
	case p.Failed():
		return "FAIL"
	}
	return "PASS"
}

// AsItShould reports whether the part ended as it should: held, or failed as a
// control arm.
func (p *PartResult) AsItShould() bool { return p.asItShould() }

const findingsShown = 12 // chosen: the rest is in the JSON file

func (p *PartResult) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %-14s %s (%.1f s)\n", p.Name, p.Verdict(), p.Took.Seconds())
	for _, f := range p.Facts {
		fmt.Fprintf(&b, "    %-28s %s\n", f.Name, f.Value)
	}
	for i, f := range p.Findings {
		if i == findingsShown {
			fmt.Fprintf(&b, "    ! and %d more\n", len(p.Findings)-i)
			break
		}
		fmt.Fprintf(&b, "    ! %s\n", f)
	}
	if p.Kept != "" {
		fmt.Fprintf(&b, "    kept %s\n", p.Kept)
	}
	return b.String()
}

// verdict folds all parts into the error that Run returns.
func (r *Report) verdict() error {
	failed, passed, ran := 0, 0, 0
	for _, d := range r.Drills {
		for _, p := range d.Parts {
			switch {
			case p.Skipped != "":
				continue
			case p.Failed():
				failed++
			case p.Weakness != "":
				passed++
			}
			ran++
		}
	}
	switch {
	case ran == 0:
		return fmt.Errorf("%w: nothing could be run here", ErrFailed)
	case r.Control && passed > 0:
		return fmt.Errorf("%w: %d of %d", ErrProvesNothing, passed, ran)
	case r.Control:
		return fmt.Errorf("%w, as its control arms must: %d of %d", ErrFailed, failed, ran)
	case failed > 0:
		return fmt.Errorf("%w: %d of %d parts", ErrFailed, failed, ran)
	}
	return nil
}

//go:embed report.html.tmpl
var reportTemplate string

// write puts the report into name as HTML and beside it as JSON.
func (r *Report) write(name string) error {
	if name == "" {
		return nil
	}
	t, err := template.New("report").Parse(reportTemplate)
	if err != nil {
		return fmt.Errorf("report template: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, r); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	j, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.WriteFile(strings.TrimSuffix(name, filepath.Ext(name))+".json", append(j, '\n'), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
