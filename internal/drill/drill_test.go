package drill_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/drill"
	"github.com/postern-mail/postern/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func TestD21CustodyHolds(t *testing.T) { holds(t, "D21") }

func TestD22AbuseHolds(t *testing.T) { holds(t, "D22") }

// holds runs every part of a drill in its short size.
func holds(t *testing.T, name string) {
	for _, p := range entry(t, name).Parts {
		t.Run(p, func(t *testing.T) {
			t.Parallel()
			rep, err := drill.Judge(t.Context(), name, options(t, p, false))
			if rep == nil || len(rep.Drills) != 1 || len(rep.Drills[0].Parts) != 1 {
				t.Fatalf("nothing was run: %v", err)
			}
			part := rep.Drills[0].Parts[0]
			if part.Skipped != "" {
				t.Fatal("not run: " + part.Skipped)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEveryControlArmFails(t *testing.T) {
	for _, e := range drill.List() {
		for _, arm := range e.Control {
			t.Run(e.Name+" "+arm, func(t *testing.T) {
				t.Parallel()
				rep, err := drill.Judge(t.Context(), e.Name, options(t, arm, true))
				if rep != nil && len(rep.Drills) == 1 && len(rep.Drills[0].Parts) == 1 && rep.Drills[0].Parts[0].Skipped != "" {
					t.Fatal("not run: " + rep.Drills[0].Parts[0].Skipped)
				}
				if !errors.Is(err, drill.ErrFailed) {
					t.Errorf("the drill must fail without its protection, got %v", err)
				}
				for _, d := range rep.Drills {
					for _, p := range d.Parts {
						for _, f := range p.Findings {
							if strings.HasPrefix(f, "could not be run") {
								t.Errorf("it failed for the wrong reason: %s", f)
							}
						}
					}
				}
			})
		}
	}
}

func options(t *testing.T, part string, control bool) drill.Options {
	return drill.Options{Size: drill.Short, Control: control, Only: []string{part}, Binary: harness.DrillBinary(t), Out: t.Output()}
}

func entry(t *testing.T, name string) drill.Entry {
	t.Helper()
	for _, e := range drill.List() {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("no drill %s", name)
	return drill.Entry{}
}

func TestAReleaseBuildRefusesToBeWeakened(t *testing.T) {
	_, err := drill.Judge(t.Context(), "D21", drill.Options{Control: true, Binary: harness.Binary(t)})
	if !errors.Is(err, drill.ErrNeedsDrill) {
		t.Fatalf("got %v", err)
	}
}

func TestAnUnknownDrillIsNamed(t *testing.T) {
	err := drill.Run(t.Context(), "D99", drill.Options{})
	if !errors.Is(err, drill.ErrUnknown) || !strings.Contains(err.Error(), "D99") {
		t.Fatalf("got %v", err)
	}
}

func TestAReleaseBuildReportsFailPointsAsSkipped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.html")
	err := drill.Run(t.Context(), "D21", drill.Options{Only: []string{"fail-points"}, Binary: harness.Binary(t), Report: file})
	if !errors.Is(err, drill.ErrFailed) {
		t.Errorf("a run in which nothing could be run must not pass: %v", err)
	}
	for _, name := range []string{file, strings.TrimSuffix(file, "html") + "json"} {
		b, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(b), "make drill-build") {
			t.Errorf("%s does not say what is needed: %v\n%s", name, err, b)
		}
	}
}
