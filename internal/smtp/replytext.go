package smtp

import (
	"strconv"
	"strings"
)

// IsZero reports whether e is no enhanced code.
func (e EnhancedCode) IsZero() bool { return e == EnhancedCode{} }

// String returns e as "5.1.1", and "" for the zero value.
func (e EnhancedCode) String() string {
	if e.IsZero() {
		return ""
	}
	return string(e.append(make([]byte, 0, 12)))
}

func (e EnhancedCode) append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, uint64(e.Class), 10)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, uint64(e.Subject), 10)
	dst = append(dst, '.')
	return strconv.AppendUint(dst, uint64(e.Detail), 10)
}

// AppendWire appends r as it is said on the wire: one line per entry of Text,
// each with the code and the enhanced code (RFC 2034 section 4), each ended by
// CRLF. No text at all gives one line without text. CR, LF, NUL and other
// controls in a text are written as "?": a reply can't be split by its words.
func (r Reply) AppendWire(dst []byte) []byte {
	last := len(r.Text) - 1
	for i := 0; i < last; i++ {
		dst = r.appendLine(dst, '-', r.Text[i])
	}
	if last < 0 {
		return r.appendLine(dst, ' ', "")
	}
	return r.appendLine(dst, ' ', r.Text[last])
}

func (r Reply) appendLine(dst []byte, sep byte, text string) []byte {
	dst = strconv.AppendInt(dst, int64(r.Code), 10)
	dst = append(dst, sep)
	if !r.Enhanced.IsZero() {
		dst = r.Enhanced.append(dst)
		if text != "" {
			dst = append(dst, ' ')
		}
	}
	start := len(dst)
	dst = append(dst, text...)
	for i := start; i < len(dst); i++ {
		if dst[i] < ' ' && dst[i] != '\t' || dst[i] == 0x7f {
			dst[i] = '?'
		}
	}
	return append(dst, '\r', '\n')
}

// String returns r on one line for people: "550 5.1.1 No such user". Lines of
// a reply with several are joined by "; "; controls are shown as "?". The zero
// value gives "".
func (r Reply) String() string {
	if r.IsZero() {
		return ""
	}
	one := Reply{Code: r.Code, Enhanced: r.Enhanced, Text: []string{strings.Join(r.Text, "; ")}}
	b := one.AppendWire(nil)
	return strings.TrimRight(string(b), " \r\n")
}

// ParseReplyLine parses one line of a reply, without its CRLF: three digits of
// which the first is 2 to 5, then "-" (more lines follow), a space, or the end.
// text is what follows, verbatim.
//
// Departs from RFC 5321 section 4.2: the second digit may be any, as a client
// acts on the first alone (section 4.3.2).
func ParseReplyLine(line []byte) (code int, more bool, text []byte, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, false, nil, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, nil, true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, nil, false
	}
	return code, line[3] == '-', line[4:], true
}

// CutEnhanced takes an enhanced code (RFC 3463 section 2) off the start of a
// reply's text. ok is false when there is none; rest is then the whole text.
func CutEnhanced(text string) (e EnhancedCode, rest string, ok bool) {
	if len(text) < 5 || text[0] != '2' && text[0] != '4' && text[0] != '5' || text[1] != '.' {
		return EnhancedCode{}, text, false
	}
	subject, after := cutNumber(text[2:])
	if after == "" || after[0] != '.' || len(after) == len(text[2:]) {
		return EnhancedCode{}, text, false
	}
	detail, rest := cutNumber(after[1:])
	if len(rest) == len(after[1:]) || rest != "" && rest[0] != ' ' {
		return EnhancedCode{}, text, false
	}
	e = EnhancedCode{Class: uint16(text[0] - '0'), Subject: subject, Detail: detail}
	return e, strings.TrimPrefix(rest, " "), true
}

// cutNumber takes 1 to 3 digits off the start of s; none when rest is s.
func cutNumber(s string) (n uint16, rest string) {
	i := 0
	for i < len(s) && i < 3 && isDigit(s[i]) {
		n = n*10 + uint16(s[i]-'0')
		i++
	}
	return n, s[i:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
