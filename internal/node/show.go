package node

import (
	"fmt"
	"reflect"
	"strings"
)

// Value is one leaf as it is in force.
type Value struct {
	Path   string `json:"path"`
	Value  string `json:"value"` // as the environment writes it; "(set)" for a secret
	Source Source `json:"source"`
	Where  string `json:"where,omitempty"` // "postern.yaml:12", "POSTERN_DATA", "--data"
	Env    string `json:"env"`
	Doc    string `json:"doc"`
}

// Effective returns every leaf in force with its origin, in the order of the
// reference. Secrets are hidden.
func (l *Loaded) Effective() []Value {
	return effective(&l.Config, l.origins)
}

func effective(config any, origins map[string]origin) []Value {
	var all []Value
	for _, leaf := range leavesOf(config) {
		from, known := origins[leaf.path]
		if !known {
			from = origin{source: FromDefault}
		}
		v := Value{
			Path: leaf.path, Value: leaf.text(), Source: from.source, Where: from.where,
			Env: leaf.env(), Doc: leaf.tag.Get("doc"),
		}
		if leaf.secret() && v.Value != "" {
			v.Value = "(set)"
		}
		all = append(all, v)
	}
	return all
}

// Reference returns docs/postern.yaml.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	c := Default()
	v := reflect.ValueOf(&c).Elem()
	b.WriteString("\n## Top level\n")
	referenceRows(&b, v, "")
	referenceSections(&b, v, "")
	return b.String()
}

const referenceHead = `# postern.yaml

<!-- Written from the tags in internal/node/config.go by
     go test ./internal/node -run TestFresh -update. Do not edit. -->

The node's own file: where it listens, where it keeps its data, its bounds.
What belongs to tenants is in tenants.yaml. ` + "`postern node check`" + ` names every problem
with line and column; ` + "`postern node show`" + ` prints what is in force, and why.

Each setting is read from, weakest first: its default, postern.yaml (the file
named by ` + "`--config`" + ` or POSTERN_CONFIG, else ./postern.yaml if it exists), its
environment variable, the command line (` + "`--set path=value`" + `; some have a flag of
their own). A list from a stronger source replaces the whole list.

The environment variable of ` + "`limits.content`" + ` is ` + "`POSTERN_LIMITS_CONTENT`" + `, and so on.
There, and on the command line, lists are written with commas, and ` + "`none`" + ` is the
empty list. Unknown keys are errors. Sizes and durations carry a unit: ` + "`64B`" + `,
` + "`256KiB`" + `, ` + "`50MiB`" + `; ` + "`20ms`" + `, ` + "`30s`" + `, ` + "`5m`" + `, ` + "`4h`" + `, ` + "`5d`" + `.
`

func referenceSections(b *strings.Builder, v reflect.Value, prefix string) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Type.Kind() != reflect.Struct || field.Tag.Get("yaml") == "" {
			continue
		}
		path := prefix + field.Tag.Get("yaml")
		fmt.Fprintf(b, "\n## %s\n\n%s\n", path, field.Tag.Get("doc"))
		referenceRows(b, v.Field(i), path+".")
		referenceSections(b, v.Field(i), path+".")
	}
}

func referenceRows(b *strings.Builder, v reflect.Value, prefix string) {
	b.WriteString("\n| setting | default | |\n|---|---|---|\n")
	for _, leaf := range walk(v, prefix) {
		if strings.Contains(strings.TrimPrefix(leaf.path, prefix), ".") {
			continue
		}
		byDefault := "`" + leaf.text() + "`"
		if leaf.text() == "" {
			byDefault = "empty"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s%s |\n", leaf.path, byDefault, leaf.tag.Get("doc"), bounds(leaf))
	}
}

func bounds(l leaf) string {
	switch {
	case l.tag.Get("words") != "":
		return " One of `" + strings.ReplaceAll(l.tag.Get("words"), ",", "`, `") + "`."
	case l.tag.Get("min") != "":
		return fmt.Sprintf(" From %s to %s.", l.tag.Get("min"), l.tag.Get("max"))
	}
	return ""
}
