package yamlfile

import (
	"fmt"
	"reflect"
	"strings"
)

// fieldNamed finds the field of struct type t whose yaml tag is name.
func fieldNamed(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if field := t.Field(i); name != "" && field.Tag.Get("yaml") == name {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

func names(t reflect.Type) []string {
	var all []string
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			all = append(all, name)
		}
	}
	return all
}

// known lists the keys of t for a message.
func known(t reflect.Type) string {
	all := names(t)
	if len(all) > 12 {
		return strings.Join(all[:12], ", ") + ", ..."
	}
	return strings.Join(all, ", ")
}

// suggest names the known key that is nearest to an unknown one, or all keys.
func suggest(t reflect.Type, name string) string {
	if best := Nearest(name, names(t)); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known here: " + known(t)
}

// Nearest returns the candidate that differs from name in the fewest edits,
// at most a third of its letters, or "".
func Nearest(name string, candidates []string) string {
	best, bestEdits := "", len(name)/3+1
	for _, candidate := range candidates {
		if edits := distance(name, candidate); edits < bestEdits || edits == bestEdits && best == "" {
			best, bestEdits = candidate, edits
		}
	}
	return best
}

// distance is Levenshtein's, over octets; long words are not compared.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
