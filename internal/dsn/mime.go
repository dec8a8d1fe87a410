package dsn

import (
	"bytes"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxLine is the most octets of a line without its CRLF (RFC 5322 section
// 2.1.1); foldAt is where long fields are folded.
const (
	maxLine = 998
	foldAt  = 76
)

// part is one body part.
type part struct {
	kind        string // Content-Type
	description string
	encoding    string // Content-Transfer-Encoding
	body        []byte // encoded, CRLF lines
}

// textPart makes a part of text that may be made 7-bit by quoted-printable.
func textPart(kind, charsetKey, description string, body []byte) part {
	p := part{kind: kind, description: description, encoding: "7bit", body: body}
	if isASCII(body) {
		if charsetKey != "" {
			p.kind += "; charset=us-ascii"
		}
		return p
	}
	if charsetKey != "" {
		p.kind += "; charset=utf-8"
	}
	p.encoding = "quoted-printable"
	p.body = quoted(body)
	return p
}

// quoted encodes CRLF text as quoted-printable (RFC 2045 section 6.7).
func quoted(body []byte) []byte {
	var out bytes.Buffer
	w := quotedprintable.NewWriter(&out)
	_, _ = w.Write(body) // a bytes.Buffer takes all
	_ = w.Close()
	return out.Bytes()
}

// join writes the header and the parts.
func (b *builder) join(parts []part) Message {
	boundary := freeBoundary(b.MessageID, parts)
	var m Message
	var out bytes.Buffer
	out.Grow(2048 + len(parts[len(parts)-1].body))
	to := string(b.To.AppendWire(nil))
	m.UTF8 = !isASCII([]byte(to))
	field(&out, "From", "Mail Delivery System <MAILER-DAEMON@"+b.Hostname+">")
	field(&out, "To", to)
	field(&out, "Subject", b.subject())
	field(&out, "Date", date(b.Now))
	field(&out, "Message-ID", "<"+b.MessageID+"@"+b.Hostname+">")
	field(&out, "Auto-Submitted", "auto-replied")
	field(&out, "MIME-Version", "1.0")
	out.WriteString("Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"" + boundary + "\"\r\n")
	out.WriteString("Content-Transfer-Encoding: ")
	for i := range parts {
		m.EightBit = m.EightBit || parts[i].encoding == "8bit"
	}
	if m.EightBit {
		out.WriteString("8bit\r\n")
	} else {
		out.WriteString("7bit\r\n")
	}
	out.WriteString("\r\nThis is a report in MIME format (RFC 3464).\r\n")
	for i := range parts {
		out.WriteString("\r\n--" + boundary + "\r\n")
		out.WriteString("Content-Description: " + parts[i].description + "\r\n")
		out.WriteString("Content-Type: " + parts[i].kind + "\r\n")
		out.WriteString("Content-Transfer-Encoding: " + parts[i].encoding + "\r\n\r\n")
		out.Write(parts[i].body)
	}
	out.WriteString("\r\n--" + boundary + "--\r\n")
	m.EightBit = m.EightBit || m.UTF8
	m.Content = out.Bytes()
	return m
}

// freeBoundary returns a boundary that no part contains.
func freeBoundary(id string, parts []part) string {
	for n := 0; ; n++ {
		boundary := "report-" + id
		if n > 0 {
			boundary += "-" + strconv.Itoa(n)
		}
		taken := false
		for i := range parts {
			taken = taken || bytes.Contains(parts[i].body, []byte("--"+boundary))
		}
		if !taken {
			return boundary
		}
	}
}

// field writes a header field or a field of the delivery status, folded where
// it has spaces and broken where it has none for 998 octets.
func field(out *bytes.Buffer, name, value string) {
	out.WriteString(name)
	out.WriteByte(':')
	used := len(name) + 1
	for _, word := range strings.Fields(value) {
		if used+1+len(word) > foldAt && used > len(name)+1 {
			out.WriteString("\r\n")
			used = 0
		}
		for used+1+len(word) > maxLine {
			cut := cutAt(word, maxLine-used-1)
			out.WriteByte(' ')
			out.WriteString(word[:cut])
			out.WriteString("\r\n")
			word, used = word[cut:], 0
		}
		out.WriteByte(' ')
		out.WriteString(word)
		used += 1 + len(word)
	}
	out.WriteString("\r\n")
}

// cutAt returns the greatest cut of s up to n that does not split a rune.
func cutAt(s string, n int) int {
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

// date is RFC 5322 section 3.3, in UTC.
func date(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700") }

// safe makes octets of strangers fit for a field: controls become "?", and so
// does what is not ASCII (wide false) or not UTF-8 (wide true).
func safe(s string, wide bool) string {
	clean := true
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case r < ' ' || r == 0x7f || r == utf8.RuneError && n == 1 || r >= 0x80 && r < 0xa0 || isBidi(r):
			b.WriteByte('?')
		case r >= utf8.RuneSelf && !wide:
			b.WriteByte('?')
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// isBidi reports the controls that would change the order of what is read.
func isBidi(r rune) bool {
	return r >= 0x200e && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
