package drill

import (
	"context"
	"errors"
	"io"
	"time"
)

// Size says how much of a drill is run.
type Size string

// Short takes about 20 s and judges correctness; Full takes up to 45 minutes
// and judges every bar.
const (
	Short Size = "short"
	Full  Size = "full"
)

// Entry describes one drill for `postern drill list`.
type Entry struct {
	Name    string   `json:"name"`    // "D21"
	Title   string   `json:"title"`   // a few words
	Fault   string   `json:"fault"`   // what is broken
	Bar     string   `json:"bar"`     // what must hold nevertheless
	Parts   []string `json:"parts"`   // what is run, in order
	Control []string `json:"control"` // the arms that must fail
}

// Options says how a drill is run. The zero value is a short run of the
// running binary with a random seed and no output.
type Options struct {
	// Seed repeats an earlier run; 0 draws one, which is printed.
	Seed uint64
	// Size is Short when empty.
	Size Size
	// Control runs the control arms instead of the drill. Each must fail.
	Control bool
	// Only names the parts to run; empty means all.
	Only []string
	// Binary is the postern that is drilled; empty means os.Executable.
	Binary string
	// Report is the HTML file to write; a JSON file of the same name with .json
	// for its extension is written beside it. Empty means none.
	Report string
	// Out gets one line per event for people; nil means nobody.
	Out io.Writer
}

// A failure is an error that says with which status a process should end.
type failure struct {
	text string
	exit int
}

func (f *failure) Error() string { return f.text }

// ExitCode is the status with which `postern drill run` ends.
func (f *failure) ExitCode() int { return f.exit }

// The ends of a run that a caller may branch on.
var (
	// ErrUnknown says that no drill has that name.
	ErrUnknown error = &failure{"no such drill", 64}
	// ErrFailed says that the drill failed; of a control arm that is the wanted end.
	ErrFailed error = &failure{"the drill failed", 1}
	// ErrProvesNothing says that a control arm passed.
	ErrProvesNothing error = &failure{"a control arm passed, so this drill proves nothing", 3}
	// ErrNeedsDrill says that the binary cannot be weakened.
	ErrNeedsDrill error = &failure{"control arms need a binary built with -tags drill (make drill-build); a release build cannot be weakened", 64}
)

// List names every drill in the order of their numbers.
func List() []Entry {
	var out []Entry
	for _, s := range scenarios() {
		e := s.Entry
		for _, p := range s.parts {
			if p.weakness == "" {
				e.Parts = append(e.Parts, p.name)
			} else {
				e.Control = append(e.Control, p.name)
			}
		}
		out = append(out, e)
	}
	return out
}

// Run runs the drill called name ("all" for every one) and says whether it
// held: nil, or an error that wraps ErrFailed with the number of findings. It
// ends early when ctx does. With Options.Control it returns ErrFailed when every
// control arm failed, as it must, and ErrProvesNothing when one passed.
func Run(ctx context.Context, name string, o Options) error {
	_, err := Judge(ctx, name, o)
	return err
}

// Judge is Run that also returns what was found. The report is never nil unless
// nothing could be run.
func Judge(ctx context.Context, name string, o Options) (*Report, error) {
	r, err := newRunner(o)
	if err != nil {
		return nil, err
	}
	picked, err := pick(name)
	if err != nil {
		return nil, err
	}
	rep := &Report{Binary: r.binary, Seed: r.seed, Size: r.size, Control: o.Control, Started: time.Now().UTC()}
	for _, s := range picked {
		res, err := r.runScenario(ctx, s)
		if res != nil {
			rep.Drills = append(rep.Drills, res)
		}
		if err != nil {
			return rep, errors.Join(err, rep.write(o.Report))
		}
	}
	rep.Took = time.Since(rep.Started)
	return rep, errors.Join(rep.verdict(), rep.write(o.Report))
}
