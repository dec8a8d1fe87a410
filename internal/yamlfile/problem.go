package yamlfile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxProblems bounds what is reported. Chosen: more than fits a screen helps
// nobody.
const maxProblems = 50

// maxExcerpt is the width of an excerpt in characters, so that it fits 80
// columns with its line number.
const maxExcerpt = 70

// Problem is one thing wrong with a file. A Problem made by a check after
// decoding holds Path and Message; Document.Explain fills in the rest.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`   // from 1; 0: unknown
	Column  int    `json:"column,omitempty"` // from 1, in characters
	Path    string `json:"path,omitempty"`   // "tenants[0].id"; "" is the whole file
	Message string `json:"message"`
	See     string `json:"see,omitempty"` // path of another place that has to do with it; Explain adds its line to Message
	Excerpt string `json:"-"`             // the source line with a caret below, secrets hidden
}

// Short returns the problem on one line: file:line:column: path: message.
func (p Problem) Short() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Error returns Short and, below it, the excerpt.
func (p Problem) Error() string {
	if p.Excerpt == "" {
		return p.Short()
	}
	return p.Short() + "\n" + p.Excerpt
}

// Problems is everything wrong with a file, in the order of its lines. A
// Problems of length 0 must not be returned as an error.
type Problems []Problem

// Error returns all problems, each with its excerpt.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(p.Error())
	}
	return b.String()
}

// Err returns ps sorted and cut as an error, or nil when it is empty.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if len(ps) > maxProblems {
		more := Problem{File: ps[0].File, Message: fmt.Sprintf("and %d more problems", len(ps)-maxProblems)}
		ps = append(ps[:maxProblems:maxProblems], more)
	}
	return ps
}

// excerpt shows one line of src with a caret under column (from 1, in
// characters), secrets hidden.
func excerpt(src []byte, line, column int) string {
	text, ok := sourceLine(src, line)
	if !ok {
		return ""
	}
	text = hideSecrets(strings.ToValidUTF8(text, "?"))
	runes := []rune(text)
	column = max(1, min(column, len(runes)+1))
	start := 0
	if column > maxExcerpt-10 {
		start = column - maxExcerpt/2
	}
	end := min(len(runes), start+maxExcerpt)
	shown := string(runes[start:end])
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(runes[start:column-1]))
	number := fmt.Sprintf("%5d", line)
	return fmt.Sprintf("%s | %s\n%s | %s^", number, shown, strings.Repeat(" ", len(number)), pad)
}

func sourceLine(src []byte, line int) (string, bool) {
	if line < 1 {
		return "", false
	}
	rest := string(src)
	for range line - 1 {
		_, after, found := strings.Cut(rest, "\n")
		if !found {
			return "", false
		}
		rest = after
	}
	text, _, _ := strings.Cut(rest, "\n")
	return strings.TrimRight(text, "\r"), true
}

// hideSecrets replaces what may be a secret with asterisks of the same
// length, so that the caret stays where it belongs.
func hideSecrets(line string) string {
	for _, expression := range []string{`\$argon2[^\s"'}\]]*`, `(?i)(?:pass|secret)[\w-]*["']?\s*:\s*([^\s{\[#].*)`} {
		line = mask(regexp.MustCompile(expression), line)
	}
	return line
}

// mask hides the expression's first group, or the whole match without one.
func mask(expression *regexp.Regexp, line string) string {
	at := expression.FindStringSubmatchIndex(line)
	if at == nil {
		return line
	}
	from, to := at[0], at[1]
	if len(at) > 2 {
		from, to = at[2], at[3]
	}
	hidden := strings.Repeat("*", utf8.RuneCountInString(line[from:to]))
	return line[:from] + hidden + line[to:]
}
