package yamlfile

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Explain fills in file, line, column and excerpt of a problem that has only
// a path. A path that is not in the file (a missing key) is shown at the
// nearest thing above it that is.
func (doc *Document) Explain(p Problem) Problem {
	if doc == nil || doc.root == nil {
		if doc != nil {
			p.File = doc.name
		}
		return p
	}
	if p.See != "" {
		p.Message += " (line " + strconv.Itoa(doc.Line(p.See)) + ")"
	}
	return doc.place(p, doc.find(p.Path))
}

// Line returns the line on which path is written, 0 when it is not.
func (doc *Document) Line(path string) int {
	if doc == nil || doc.root == nil {
		return 0
	}
	return doc.find(path).Position.Line
}

// Has reports whether the file itself gives a value for path.
func (doc *Document) Has(path string) bool {
	if doc == nil || doc.root == nil {
		return false
	}
	_, found := descend(doc.root, path)
	return found
}

func (doc *Document) place(p Problem, at *token.Token) Problem {
	p.File = doc.name
	if at == nil || at.Position == nil {
		return p
	}
	p.Line, p.Column = at.Position.Line, at.Position.Column
	p.Excerpt = excerpt(doc.src, p.Line, p.Column)
	return p
}

func (doc *Document) find(path string) *token.Token {
	node, _ := descend(doc.root, path)
	return firstToken(node)
}

// descend follows path as far as the file goes.
func descend(node ast.Node, path string) (deepest ast.Node, found bool) {
	for path != "" {
		var step string
		step, path = cutStep(path)
		next := child(node, step)
		if next == nil {
			return node, false
		}
		node = next
	}
	return node, true
}

// cutStep splits "tenants[0].id" into "tenants" and "[0].id", and "[0].id"
// into "[0]" and "id".
func cutStep(path string) (step, rest string) {
	path = strings.TrimPrefix(path, ".")
	if strings.HasPrefix(path, "[") {
		end := strings.IndexByte(path, ']') + 1
		if end == 0 {
			end = len(path)
		}
		return path[:end], path[end:]
	}
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		return path, ""
	}
	return path[:end], path[end:]
}

func child(node ast.Node, step string) ast.Node {
	if strings.HasPrefix(step, "[") {
		sequence, ok := node.(*ast.SequenceNode)
		index, err := strconv.Atoi(strings.Trim(step, "[]"))
		if !ok || err != nil || index < 0 || index >= len(sequence.Values) {
			return nil
		}
		return sequence.Values[index]
	}
	m, ok := node.(ast.MapNode)
	if !ok {
		return nil
	}
	for entries := m.MapRange(); entries.Next(); {
		if entries.Key().GetToken().Value == step {
			return entries.Value()
		}
	}
	return nil
}

// Sum returns the SHA-256 of the file as it was read, in hexadecimal.
func (doc *Document) Sum() string {
	sum := sha256.Sum256(doc.src)
	return hex.EncodeToString(sum[:])
}
