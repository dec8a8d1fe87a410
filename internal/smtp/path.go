package smtp

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Path is a reverse-path or forward-path of RFC 5321 section 4.1.2 without its
// source route. The zero value is the null reverse-path "<>".
//
// Local is the local-part with quoting removed (so `"a b"@x` has Local `a b`).
// Domain is kept as it came on the wire: an A-label domain, a U-label domain
// (SMTPUTF8), or an address literal with its brackets ("[127.0.0.1]"). It is
// empty for the null reverse-path and for the bare "<postmaster>" of RFC 5321
// section 4.5.1.
type Path struct {
	Local  string
	Domain string
}

// IsNull reports whether p is the null reverse-path.
func (p Path) IsNull() bool { return p.Local == "" && p.Domain == "" }

// ASCII reports whether p can be sent to a peer without SMTPUTF8.
func (p Path) ASCII() bool { return isASCII(p.Local) && isASCII(p.Domain) }

// String returns p as it is written in an envelope but without the angle
// brackets: `alice@example.org`, `"a b"@example.org`, `postmaster`, and "<>"
// for the null reverse-path.
func (p Path) String() string {
	if p.IsNull() {
		return "<>"
	}
	if isDotString(p.Local) {
		if p.Domain == "" {
			return p.Local
		}
		return p.Local + "@" + p.Domain
	}
	return string(p.appendMailbox(make([]byte, 0, len(p.Local)+len(p.Domain)+4)))
}

// AppendWire appends p in angle brackets, as in a MAIL or RCPT command.
func (p Path) AppendWire(dst []byte) []byte {
	dst = append(dst, '<')
	dst = p.appendMailbox(dst)
	return append(dst, '>')
}

func (p Path) appendMailbox(dst []byte) []byte {
	if p.IsNull() {
		return dst
	}
	if isDotString(p.Local) {
		dst = append(dst, p.Local...)
	} else {
		dst = appendQuoted(dst, p.Local)
	}
	if p.Domain != "" {
		dst = append(dst, '@')
		dst = append(dst, p.Domain...)
	}
	return dst
}

// appendQuoted appends s as the Quoted-string of RFC 5321 section 4.1.2.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// Key returns the form by which p is matched against configured addresses:
// the local-part in NFC and lower case, "@", and DomainKey of the domain. Two
// paths that mean the same mailbox here have the same Key. A domain that has
// no DomainKey is taken in lower case. The key of the null reverse-path is "",
// that of the bare postmaster is "postmaster". Keys are for matching only and
// never go to a peer.
//
// Departs from RFC 5321 section 2.4: local-parts are compared without regard
// to case, because no customer's server tells Alice from alice and because an
// address list that did would let a block list be walked around by a capital.
func (p Path) Key() string {
	if p.IsNull() {
		return ""
	}
	local := LocalKey(p.Local)
	if p.Domain == "" {
		return local
	}
	domain, err := DomainKey(p.Domain)
	if err != nil {
		domain = strings.ToLower(p.Domain)
	}
	return local + "@" + domain
}

// LocalKey returns the form by which a local-part (without quoting) is
// matched: NFC and lower case.
func LocalKey(local string) string {
	if isASCII(local) {
		return lowerASCII(local)
	}
	// Lower case first, then NFC: lowering may leave a decomposed pair.
	return norm.NFC.String(strings.ToLower(norm.NFC.String(local)))
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// lowerASCII returns s itself when there is nothing to change.
func lowerASCII(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}

// isDotString reports whether s needs no quoting as a local-part: the
// Dot-string of RFC 5321 section 4.1.2, with UTF-8 of RFC 6531 section 3.3.
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '.':
			if s[i-1] == '.' {
				return false
			}
		case s[i] < utf8.RuneSelf && !isAtext(s[i]):
			return false
		}
	}
	return true
}

// isAtext is atext of RFC 5322 section 3.2.3.
func isAtext(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}
