package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/telemetry"
)

// sources yields every Go file of the module: path from the module's root, and
// content.
func sources(t *testing.T, each func(name string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "data") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err == nil {
			each(strings.TrimPrefix(name, "../"), text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var citation = regexp.MustCompile(`\bRFC[ -]?([0-9]{3,5})\b`)

// cited returns the RFC numbers in text, with the first place of each.
func cited(name string, text []byte, into map[string]string) {
	for _, m := range citation.FindAllSubmatch(text, -1) {
		if n := string(m[1]); into[n] == "" {
			into[n] = name
		}
	}
}

// listed returns the RFC numbers that table rows of docs/RFCS.md begin with.
func listed(text []byte) map[string]bool {
	row := regexp.MustCompile(`(?m)^\|[^|0-9]*([0-9]{3,5})\b`)
	m := map[string]bool{}
	for _, r := range row.FindAllSubmatch(text, -1) {
		m[string(r[1])] = true
	}
	return m
}

func TestCitedRFCsAreListed(t *testing.T) {
	text, err := os.ReadFile("../docs/RFCS.md")
	if err != nil {
		t.Fatal(err)
	}
	known := listed(text)
	seen := map[string]string{}
	sources(t, func(name string, text []byte) {
		if name != "internal/sources_test.go" {
			cited(name, text, seen)
		}
	})
	if len(seen) == 0 {
		t.Fatal("no RFC is cited anywhere: the test looks in the wrong place")
	}
	for _, n := range slices.Sorted(maps.Keys(seen)) {
		if !known[n] {
			t.Errorf("%s cites RFC %s, which docs/RFCS.md does not list", seen[n], n)
		}
	}
}

func TestCitedRFCsAreCheckedByATestThatBites(t *testing.T) {
	known := listed([]byte("# RFCs 9999\n\n| RFC | status |\n|---|---|\n| 5321 | yes |\n| [RFC 3461](x) | partial |\n"))
	if len(known) != 2 || !known["5321"] || !known["3461"] {
		t.Errorf("listed %v", known)
	}
	seen := map[string]string{}
	cited("a.go", []byte("// RFC 5321 section 4.5.3.1.8 and RFC 3464, not RFCnnnn or section 4.5 of ARFC 77"), seen)
	if len(seen) != 2 || seen["5321"] != "a.go" || seen["3464"] != "a.go" {
		t.Errorf("cited %v", seen)
	}
}

// failPointsIn returns the names given to telemetry.FailPoint in a file.
func failPointsIn(t *testing.T, name string, text []byte) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 {
			return true
		}
		fun, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || fun.Sel.Name != "FailPoint" {
			return true
		}
		lit, ok := call.Args[0].(*ast.BasicLit)
		if !ok {
			t.Errorf("%s: FailPoint wants a literal name", name)
			return true
		}
		s, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, s)
		return true
	})
	return names
}

func TestEveryFailPointIsListedAndUsed(t *testing.T) {
	used := map[string]string{}
	sources(t, func(name string, text []byte) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		for _, p := range failPointsIn(t, name, text) {
			used[p] = name
		}
	})
	for _, p := range telemetry.FailPoints() {
		if used[p] == "" {
			t.Errorf("fail point %s is listed and used nowhere", p)
		}
		delete(used, p)
	}
	for _, p := range slices.Sorted(maps.Keys(used)) {
		t.Errorf("%s uses fail point %s, which is not listed", used[p], p)
	}
}
