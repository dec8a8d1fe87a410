package smtp

import (
	"strings"
	"unicode/utf8"
)

// Bounds of a path. MaxLocalOctets departs from the 64 octets of RFC 5321
// section 4.5.3.1.1 (chosen: VERP and SRS make 65 to 120 in real mail, and
// the section forbids no more than it); maxPathDomain is section 4.5.3.1.2.
const (
	MaxLocalOctets = 255
	maxPathDomain  = 255
)

// ParsePath parses a path in angle brackets at the start of s and returns what
// follows it. "<>" gives the null reverse-path. Non-ASCII is accepted when it
// is valid UTF-8 (RFC 6531 section 3.3); Path.ASCII tells. A source route
// "@a,@b:" is checked and dropped (RFC 5321 appendix C).
//
// Departs from RFC 5321 section 4.1.2: a mailbox without brackets is accepted
// up to the next space, if its local-part is no quoted string.
func ParsePath(s string) (p Path, rest string, err error) {
	if s == "" {
		return Path{}, "", pathError("empty path")
	}
	if s[0] != '<' {
		end := strings.IndexByte(s, ' ')
		if end < 0 {
			end = len(s)
		}
		if strings.ContainsAny(s[:end], `"<>`) {
			return Path{}, "", pathError("path without brackets")
		}
		p, err = ParseMailbox(s[:end])
		return p, s[end:], err
	}
	body := s[1:]
	if strings.HasPrefix(body, ">") {
		return Path{}, body[1:], nil
	}
	if body, err = skipRoute(body); err != nil {
		return Path{}, "", err
	}
	p, rest, err = parseMailbox(body)
	if err != nil {
		return Path{}, "", err
	}
	if rest == "" || rest[0] != '>' {
		return Path{}, "", pathError("no closing bracket")
	}
	return p, rest[1:], nil
}

// ParseMailbox parses "local@domain", or the bare "postmaster", without angle
// brackets: the form of configuration and of the command line.
func ParseMailbox(s string) (Path, error) {
	p, rest, err := parseMailbox(s)
	if err == nil && rest != "" {
		err = pathError("octets after the address")
	}
	if err != nil {
		return Path{}, err
	}
	return p, nil
}

func parseMailbox(s string) (p Path, rest string, err error) {
	if s != "" && s[0] == '"' {
		p.Local, rest, err = parseQuoted(s)
	} else {
		p.Local, rest, err = parseDotString(s)
	}
	if err != nil {
		return Path{}, "", err
	}
	if len(p.Local) > MaxLocalOctets {
		return Path{}, "", pathError("local-part too long")
	}
	if rest == "" || rest[0] != '@' {
		if strings.EqualFold(p.Local, "postmaster") {
			return p, rest, nil // RFC 5321 section 4.5.1
		}
		return Path{}, "", pathError("no domain")
	}
	p.Domain, rest, err = parseDomain(rest[1:])
	if err != nil {
		return Path{}, "", err
	}
	return p, rest, nil
}

func parseDotString(s string) (local, rest string, err error) {
	i := 0
	for i < len(s) && (s[i] == '.' || s[i] >= utf8.RuneSelf || isAtext(s[i])) {
		i++
	}
	local = s[:i]
	if !isDotString(local) || !validUTF8(local) {
		return "", "", pathError("local-part")
	}
	return local, s[i:], nil
}

// parseQuoted parses Quoted-string of RFC 5321 section 4.1.2: qtextSMTP and
// quoted-pairSMTP, no folding, no tab.
func parseQuoted(s string) (local, rest string, err error) {
	var b []byte
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			local = string(b)
			if b == nil {
				local = s[1:i]
			}
			if !validUTF8(local) {
				return "", "", pathError("local-part is not UTF-8")
			}
			return local, s[i+1:], nil
		case c == '\\':
			if b == nil {
				b = append(make([]byte, 0, len(s)), s[1:i]...)
			}
			if i++; i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", "", pathError("quoted pair")
			}
			b = append(b, s[i])
		case c < ' ' || c == 0x7f:
			return "", "", pathError("control character")
		case b != nil:
			b = append(b, c)
		}
	}
	return "", "", pathError("quoted string without end")
}

// parseDomain parses a domain or an address literal up to the first octet that
// can be in neither.
func parseDomain(s string) (domain, rest string, err error) {
	end := 0
	if s != "" && s[0] == '[' {
		end = strings.IndexByte(s, ']') + 1
		if _, ok := ParseLiteral(s[:end]); !ok {
			return "", "", pathError("address literal")
		}
		return s[:end], s[end:], nil
	}
	ascii := true
	for end < len(s) && s[end] != '>' && s[end] != ' ' && s[end] != ':' && s[end] != ',' {
		ascii = ascii && s[end] < utf8.RuneSelf
		end++
	}
	domain = s[:end]
	switch {
	case len(domain) > maxPathDomain:
		return "", "", pathError("domain too long")
	case ascii && !validDomain(domain):
		return "", "", pathError("domain")
	case !ascii && (!validUTF8(domain) || !validUDomain(domain)):
		return "", "", pathError("internationalised domain")
	}
	return domain, s[end:], nil
}

// skipRoute drops the A-d-l of RFC 5321 section 4.1.2, "@a,@b:".
func skipRoute(s string) (string, error) {
	if s == "" || s[0] != '@' {
		return s, nil
	}
	for {
		_, rest, err := parseDomain(s[1:])
		if err != nil {
			return "", err
		}
		switch {
		case strings.HasPrefix(rest, ":"):
			return rest[1:], nil
		case strings.HasPrefix(rest, ",@"):
			s = rest[1:]
		default:
			return "", pathError("source route")
		}
	}
}

// validUTF8 reports whether s is UTF-8 without C1 controls, which no address
// needs and some terminals obey.
func validUTF8(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	if isASCII(s) {
		return true
	}
	for _, r := range s {
		if r >= 0x80 && r < 0xa0 {
			return false
		}
	}
	return true
}
