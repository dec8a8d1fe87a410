package oracle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Mark is the header field that carries the ID and the hash of all octets
// after its line.
const Mark = "X-Drill"

// Message is one mail object of a generator.
type Message struct {
	ID          string
	ReversePath string   // without angle brackets; "" is the null reverse-path
	Recipients  []string // forward-paths without angle brackets
	Content     []byte   // lines end in CRLF; not dot-stuffed
	Body        string   // the BODY parameter of MAIL, "" for none
}

// Compose makes the content of about the given number of octets: a mark, a
// header and lines of text that begin with dots, spaces and letters. The same
// rng state makes the same content.
func Compose(id, from string, to []string, octets int, rng *rand.Rand) *Message {
	var rest bytes.Buffer
	rest.Grow(octets + 256)
	fmt.Fprintf(&rest, "From: <%s>\r\nTo: <%s>\r\nSubject: drill %s\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-ID: <%s@drill.test>\r\n\r\n",
		from, strings.Join(to, ">,\r\n <"), id, id)
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/. "
	line := make([]byte, 0, 80)
	for rest.Len() < octets {
		line = line[:0]
		switch rng.IntN(8) {
		case 0:
			line = append(line, '.')
		case 1:
			line = append(line, ".."...)
		}
		for n := rng.IntN(72); n > 0; n-- {
			line = append(line, letters[rng.IntN(len(letters))])
		}
		rest.Write(append(line, '\r', '\n'))
	}
	return &Message{ID: id, ReversePath: from, Recipients: to, Content: Marked(id, rest.Bytes())}
}

// Marked puts the mark of id before rest.
func Marked(id string, rest []byte) []byte {
	sum := sha256.Sum256(rest)
	head := fmt.Sprintf("%s: %s %s\r\n", Mark, id, hex.EncodeToString(sum[:]))
	return append([]byte(head), rest...)
}

// readMark finds the mark in content and reports the ID and whether all that
// follows is as it was sent. Only the header is searched: a mark inside a body,
// as in a DSN, is not this message's own.
func readMark(content []byte) (id string, intact, found bool) {
	at := 0
	for at < len(content) {
		end := bytes.Index(content[at:], []byte("\r\n"))
		if end <= 0 { // no more lines, or the end of the header
			return "", false, false
		}
		line := content[at : at+end]
		at += end + 2
		value, ok := bytes.CutPrefix(line, []byte(Mark+": "))
		if !ok {
			continue
		}
		name, sum, _ := strings.Cut(string(value), " ")
		have := sha256.Sum256(content[at:])
		return name, hex.EncodeToString(have[:]) == sum, true
	}
	return "", false, false
}

// stuff writes content as the DATA command wants it: dots at line starts
// doubled, CRLF.CRLF at the end.
func stuff(content []byte) []byte {
	out := make([]byte, 0, len(content)+len(content)/40+8)
	start := true
	for i, c := range content {
		if start && c == '.' {
			out = append(out, '.')
		}
		out = append(out, c)
		start = c == '\n' && i > 0 && content[i-1] == '\r'
	}
	if !start {
		out = append(out, '\r', '\n')
	}
	return append(out, '.', '\r', '\n')
}

// unstuff undoes stuff; raw has no terminator.
func unstuff(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	start := true
	for i, c := range raw {
		if start && c == '.' {
			start = false
			continue
		}
		out = append(out, c)
		start = c == '\n' && i > 0 && raw[i-1] == '\r'
	}
	return out
}
