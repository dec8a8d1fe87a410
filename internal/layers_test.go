// Package internal_test holds the tests about the source as a whole: the
// bands of the packages, the RFCs that are cited, the fail points.
package internal_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/postern-mail/postern"

// bands reads the file LAYERS: band and package path below internal/.
func bands(name string) (map[string]int, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	m := map[string]int{}
	sc := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		band, pkg, ok := strings.Cut(line, " ")
		v, err := strconv.Atoi(band)
		if !ok || err != nil || v < 1 || strings.ContainsAny(pkg, " \t") {
			return nil, fmt.Errorf("%s:%d: want a band and a package: %q", name, n, line)
		}
		if old, twice := m[pkg]; twice {
			return nil, fmt.Errorf("%s:%d: %s is listed twice, in bands %d and %d", name, n, pkg, old, v)
		}
		m[pkg] = v
	}
	return m, nil
}

// imports asks go list, in dir, which packages import what, tests left out.
func imports(dir string, flags ...string) (map[string][]string, error) {
	args := append([]string{"list", "-e", "-json=ImportPath,Imports"}, flags...)
	cmd := exec.Command("go", append(args, "./...")...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("go list: %w: %s", err, exit.Stderr)
		}
		return nil, err
	}
	graph := map[string][]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return graph, nil
		case err != nil:
			return nil, err
		}
		graph[p.ImportPath] = p.Imports
	}
}

// violations names every import that goes up or sideways, and every package
// without a band. Packages outside internal/ stand above all bands.
func violations(band map[string]int, graph map[string][]string) []string {
	const below = module + "/internal/"
	var out []string
	for _, pkg := range slices.Sorted(maps.Keys(graph)) {
		from, inside := strings.CutPrefix(pkg, below)
		if !inside {
			continue
		}
		mine, ok := band[from]
		if !ok {
			out = append(out, from+" is not in LAYERS")
			continue
		}
		for _, imp := range graph[pkg] {
			to, ours := strings.CutPrefix(imp, below)
			theirs, ok := band[to]
			switch {
			case !ours:
			case !ok:
				out = append(out, fmt.Sprintf("%s imports %s, which is not in LAYERS", from, to))
			case theirs >= mine:
				out = append(out, fmt.Sprintf("%s (band %d) imports %s (band %d)", from, mine, to, theirs))
			}
		}
	}
	return out
}

func TestLayersAreImportedDownwardsOnly(t *testing.T) {
	band, err := bands("LAYERS")
	if err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{nil, {"-tags=drill"}} {
		graph, err := imports("..", flags...)
		if err != nil {
			t.Fatal(err)
		}
		if len(graph) < 5 {
			t.Fatalf("go list %v saw only %d packages", flags, len(graph))
		}
		for _, v := range violations(band, graph) {
			t.Errorf("%s %v", v, flags)
		}
	}
}

func TestLayersAreCheckedByATestThatBites(t *testing.T) {
	t.Run("on a fabricated graph", func(t *testing.T) {
		in := func(s string) string { return module + "/internal/" + s }
		got := violations(map[string]int{"smtp": 10, "cause": 10, "spool": 40}, map[string][]string{
			in("smtp"):              {"fmt", in("spool"), in("cause")},
			in("spool"):             {in("smtp"), in("new")},
			in("new"):               {"os"},
			module + "/cmd/postern": {in("spool")},
		})
		want := []string{
			"new is not in LAYERS",
			"smtp (band 10) imports spool (band 40)",
			"smtp (band 10) imports cause (band 10)",
			"spool imports new, which is not in LAYERS",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("on a real module", func(t *testing.T) {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"go.mod":                   "module " + module + "\n\ngo 1.26\n",
			"internal/LAYERS":          "# test\n10 smtp\n40 spool\n",
			"internal/smtp/smtp.go":    "package smtp\n\nimport _ \"" + module + "/internal/spool\"\n",
			"internal/smtp/a_test.go":  "package smtp\n",
			"internal/spool/spool.go":  "package spool\n",
			"internal/spool/x_test.go": "package spool_test\n\nimport _ \"" + module + "/internal/smtp\"\n",
		} {
			name = filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		band, err := bands(filepath.Join(dir, "internal/LAYERS"))
		if err != nil {
			t.Fatal(err)
		}
		graph, err := imports(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := violations(band, graph); len(got) != 1 || got[0] != "smtp (band 10) imports spool (band 40)" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("on a package that is listed twice", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "LAYERS")
		if err := os.WriteFile(name, []byte("10 smtp\n20 smtp\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := bands(name); err == nil || !strings.Contains(err.Error(), ":2: smtp is listed twice") {
			t.Errorf("got %v", err)
		}
	})
}
