package telemetry

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// keysOf reads the values of the constants in keys.go.
func keysOf(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "keys.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			k, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
		}
		return true
	})
	return keys
}
