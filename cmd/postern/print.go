package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// width is that of the narrowest terminal that output is set for.
const width = 80

// paper is what an answer is written on. The first error of writing is kept.
type paper struct {
	w     *bufio.Writer
	now   time.Time
	zone  *time.Location
	color bool
}

func (a *app) paper() *paper {
	return &paper{w: bufio.NewWriter(a.stdout), now: a.now(), zone: a.zone, color: a.color}
}

// line writes one line. Arguments must be clean.
func (p *paper) line(format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	_, _ = p.w.WriteString(text + "\n") // bufio keeps the error for Flush
}

// field writes "name   value", the value wrapped and hung at column 11.
func (p *paper) field(name, value string) {
	for i, part := range wrap(value, width-11) {
		if i > 0 {
			name = ""
		}
		p.line("%-10s %s", name, part)
	}
}

// hang writes text wrapped, each line indented by n.
func (p *paper) hang(n int, text string) {
	for _, part := range wrap(text, width-n) {
		p.line("%s%s", strings.Repeat(" ", n), part)
	}
}

func (p *paper) done() error { return p.w.Flush() }

// The colours. They mean good, waiting and bad, and nothing is told by colour
// alone.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
	bold   = "1"
)

// paint colours text, if colours are wanted.
func (p *paper) paint(color, text string) string {
	if !p.color || text == "" || color == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// wantsColor reports whether f is a terminal and nobody objects
// (https://no-color.org).
func wantsColor(f *os.File, lookup func(string) (string, bool)) bool {
	if no, set := lookup("NO_COLOR"); set && no != "" {
		return false
	}
	if term, _ := lookup("TERM"); term == "dumb" {
		return false
	}
	return isTerminal(f)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), ioctlGetTermios)
	return err == nil
}

// clean makes a stranger's words safe to print: control characters and what
// is not UTF-8 appear as \x1b, and cannot move the cursor.
func clean(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return unsafeRune(r) }) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case !unsafeRune(r):
			b.WriteString(s[i : i+size])
		case r == utf8.RuneError && size == 1 || r < 0x100:
			for _, octet := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, `\x%02x`, octet)
			}
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += size
	}
	return b.String()
}

// unsafeRune: controls, and the format characters that turn text around.
func unsafeRune(r rune) bool {
	return r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

// path shows a reverse- or forward-path in its brackets.
func path(p string) string {
	if p == "<>" {
		p = ""
	}
	return "<" + clean(p) + ">"
}

// wrap breaks text at spaces so that no line is wider than n; a word that is
// wider stands alone. Text that fits is left as it is.
func wrap(text string, n int) []string {
	if utf8.RuneCountInString(text) <= n {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= n:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// stamp shows a time in the reader's zone.
func (p *paper) stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.In(p.zone).Format("2006-01-02 15:04:05 MST")
}

// ago and until show a distance from now in one unit.
func (p *paper) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(p.now.Sub(t))
}

func (p *paper) until(t time.Time) string {
	switch left := t.Sub(p.now); {
	case t.IsZero():
		return "-"
	case left <= 0:
		return "now"
	default:
		return "in " + span(left)
	}
}

// span shows a duration in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " h"
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + " d"
}

// octets shows a size: exact below 1 KiB, with three digits above.
func octets(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		value /= 1024
		if value < 1000 || unit == "TiB" {
			return strconv.FormatFloat(value, 'f', decimals(value), 64) + " " + unit
		}
	}
	return ""
}

func decimals(v float64) int {
	if v < 100 {
		return 1
	}
	return 0
}

// plural is "1 message", "2 messages".
func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return group(n) + " " + one + "s"
}

// group writes a number with commas every three digits.
func group(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}

// writeJSON writes v indented, for one answer.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// jsonLines returns a function that writes one line for each item.
func jsonLines[Item any](w io.Writer) func(Item) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return func(item Item) error { return encoder.Encode(item) }
}
