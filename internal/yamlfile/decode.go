package yamlfile

import (
	"encoding"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Document is a file that was read, kept to point into it.
type Document struct {
	name string
	src  []byte
	root ast.Node // nil when the file is empty
}

// Read reads the file called name, at most limit octets, and decodes it into
// v as Decode does.
func Read(name string, limit int64, v any) (*Document, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, Problems{{File: name, Message: fmt.Sprintf("has %d octets; at most %d are read", info.Size(), limit)}}
	}
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Decode(name, src, v)
}

// Decode decodes src into v, a pointer to a struct whose fields bear yaml
// tags; fields without one are left alone. name is only shown. What is absent
// in src is left as it was in v. The Document is never nil when the syntax
// was right, also when err is Problems.
func Decode(name string, src []byte, v any) (doc *Document, err error) {
	defer func() {
		// The parser is not ours, and its input is whatever an operator saved.
		if r := recover(); r != nil {
			doc, err = nil, Problems{{File: name, Message: fmt.Sprintf("can't be read as YAML: %v", r)}}
		}
	}()
	file, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxProblem(name, src, err)
	}
	doc = &Document{name: name, src: src}
	d := decoder{doc: doc}
	bodies := 0
	for _, document := range file.Docs {
		if document.Body == nil {
			continue
		}
		if bodies++; bodies > 1 {
			d.problem(document.Body, nil, "is a second document; only one is read")
			break
		}
		doc.root = document.Body
	}
	if doc.root != nil {
		d.value(doc.root, reflect.ValueOf(v).Elem(), nil, false)
	}
	return doc, d.problems.Err()
}

func syntaxProblem(name string, src []byte, err error) error {
	var positioned yaml.Error
	if !errors.As(err, &positioned) || positioned.GetToken() == nil {
		return Problems{{File: name, Message: err.Error()}}
	}
	at := positioned.GetToken().Position
	return Problems{{
		File: name, Line: at.Line, Column: at.Column, Message: positioned.GetMessage(),
		Excerpt: excerpt(src, at.Line, at.Column),
	}}
}

// frame is one step of the path to a value, linked upwards, so that paths are
// only spelled out for problems.
type frame struct {
	parent *frame
	key    string
	index  int // when key is ""
}

func (f *frame) String() string {
	if f == nil {
		return ""
	}
	prefix := f.parent.String()
	if f.key == "" {
		return prefix + "[" + strconv.Itoa(f.index) + "]"
	}
	if prefix == "" {
		return f.key
	}
	return prefix + "." + f.key
}

type decoder struct {
	doc      *Document
	problems Problems
}

func (d *decoder) problem(node ast.Node, at *frame, format string, args ...any) {
	p := Problem{Path: at.String(), Message: fmt.Sprintf(format, args...)}
	d.problems = append(d.problems, d.doc.place(p, firstToken(node)))
}

// value decodes node into v.
func (d *decoder) value(node ast.Node, v reflect.Value, at *frame, secret bool) {
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		d.problem(node, at, "anchors, aliases and merge keys are not read; write the value out")
		return
	case *ast.TagNode:
		d.problem(node, at, "YAML tags are not read")
		return
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(node, text, at, secret)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(node, v, at)
	case reflect.Slice:
		d.list(node, v, at)
	case reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		d.value(node, fresh.Elem(), at, secret)
		v.Set(fresh)
	default:
		d.scalar(node, v, at, secret)
	}
}

func (d *decoder) mapping(node ast.Node, v reflect.Value, at *frame) {
	if _, empty := node.(*ast.NullNode); empty {
		return
	}
	m, ok := node.(ast.MapNode)
	if !ok {
		d.problem(node, at, "want keys with values here (%s), not %s", known(v.Type()), kindOf(node))
		return
	}
	seen := make(map[string]int)
	for entries := m.MapRange(); entries.Next(); {
		key := entries.Key()
		name := key.GetToken().Value
		if key.IsMergeKey() {
			d.problem(key, at, "anchors, aliases and merge keys are not read; write the value out")
			continue
		}
		field, found := fieldNamed(v.Type(), name)
		if !found {
			d.problem(key, at, "unknown key %q%s", name, suggest(v.Type(), name))
			continue
		}
		if line, twice := seen[name]; twice {
			d.problem(key, at, "key %q is given twice, first on line %d", name, line)
			continue
		}
		seen[name] = key.GetToken().Position.Line
		d.value(entries.Value(), v.FieldByIndex(field.Index), &frame{parent: at, key: name}, field.Tag.Get("secret") == "true")
	}
}

func (d *decoder) list(node ast.Node, v reflect.Value, at *frame) {
	if _, empty := node.(*ast.NullNode); empty {
		v.SetZero()
		return
	}
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		d.problem(node, at, "want a list here, not %s; write [ ... ] or one line each with \"- \"", kindOf(node))
		return
	}
	fresh := reflect.MakeSlice(v.Type(), len(sequence.Values), len(sequence.Values))
	for i, element := range sequence.Values {
		d.value(element, fresh.Index(i), &frame{parent: at, index: i}, false)
	}
	v.Set(fresh)
}

// text hands the scalar's own words to a type that reads itself.
func (d *decoder) text(node ast.Node, into encoding.TextUnmarshaler, at *frame, secret bool) {
	words, ok := scalarText(node)
	if !ok && secret {
		d.secretProblem(node, at)
		return
	}
	if !ok {
		d.problem(node, at, "want one value here, not %s", kindOf(node))
		return
	}
	if err := into.UnmarshalText([]byte(words)); err != nil {
		if secret {
			d.secretProblem(node, at)
			return
		}
		d.problem(node, at, "%s", err)
	}
}

// secretProblem says that a secret can't be read without showing its line.
func (d *decoder) secretProblem(node ast.Node, at *frame) {
	d.problem(node, at, "can't be read (the line is not shown, it holds a secret; text goes in quotes)")
	d.problems[len(d.problems)-1].Excerpt = ""
}

func (d *decoder) scalar(node ast.Node, v reflect.Value, at *frame, secret bool) {
	words, ok := scalarText(node)
	if !ok && !secret {
		d.problem(node, at, "want one value here, not %s", kindOf(node))
		return
	}
	if secret && (!isText(node) || v.Kind() != reflect.String) {
		d.secretProblem(node, at)
		return
	}
	switch v.Kind() {
	case reflect.String:
		if !isText(node) {
			d.problem(node, at, "want text here, not %s; write %q", kindOf(node), words)
			return
		}
		v.SetString(words)
	case reflect.Bool:
		b, isBool := node.(*ast.BoolNode)
		if !isBool {
			d.problem(node, at, "want true or false here, not %s", kindOf(node))
			return
		}
		v.SetBool(b.Value)
	case reflect.Int:
		n, err := strconv.Atoi(words)
		if _, isInt := node.(*ast.IntegerNode); !isInt || err != nil {
			d.problem(node, at, "want a whole number here, not %s", kindOf(node))
			return
		}
		v.SetInt(int64(n))
	default:
		panic("yamlfile: a struct has a field of kind " + v.Kind().String())
	}
}

// scalarText returns the words of a scalar as written, without quotes.
func scalarText(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	return "", false
}

func isText(node ast.Node) bool {
	switch node.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return true
	}
	return false
}

func kindOf(node ast.Node) string {
	switch n := node.(type) {
	case *ast.NullNode:
		return "nothing"
	case *ast.StringNode:
		return "text"
	case *ast.LiteralNode:
		return "text of several lines"
	case *ast.IntegerNode:
		return "the number " + n.GetToken().Value
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + node.GetToken().Value
	case *ast.BoolNode:
		return "the truth value " + n.GetToken().Value
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "keys with values"
	}
	return "this"
}

// firstToken is where a person sees node begin.
func firstToken(node ast.Node) *token.Token {
	switch n := node.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return node.GetToken()
}
