package smtp

import (
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// maxDomainOctets and maxLabelOctets are RFC 1035 section 2.3.4; 253 is what
// is left of 255 octets on the wire for the text without its last dot.
const (
	maxDomainOctets = 253
	maxLabelOctets  = 63
)

// errDomain is returned by DomainKey; the caller knows the name.
var errDomain = errors.New("not a domain name or address literal")

// DomainKey returns the form by which domains are matched and looked up: the
// A-label form in lower case, without the root's dot. An address literal keeps
// its brackets and has its address in canonical form ("[127.0.0.1]",
// "[ipv6:::1]"). An error means that s is neither.
//
// ASCII names are only lowered, so a label that begins with "xn--" and does
// not decode is kept: the peer that uses it means that name and no other.
func DomainKey(s string) (string, error) {
	if s != "" && s[0] == '[' {
		return literalKey(s)
	}
	s = strings.TrimSuffix(s, ".")
	if !isASCII(s) {
		ascii, err := idnaProfile().ToASCII(s)
		if err != nil {
			return "", errDomain
		}
		s = strings.TrimSuffix(ascii, ".")
	}
	if !validDomain(s) {
		return "", errDomain
	}
	return lowerASCII(s), nil
}

// idnaProfile is UTS 46 non-transitional with mapping (case, width), as RFC
// 5891 section 5 asks of lookups, without the STD 3 rules: validDomain decides
// about ASCII. Making it costs nothing worth a package variable.
func idnaProfile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.BidiRule())
}

// validDomain checks an ASCII domain: labels of letters, digits, "-" and "_"
// that neither begin nor end with "-".
//
// Departs from RFC 5321 section 4.1.2: "_" is accepted, because hosts with it
// in their names send real mail.
func validDomain(s string) bool {
	if s == "" || len(s) > maxDomainOctets {
		return false
	}
	label := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
			label++
		case c == '-' && label > 0:
			label++
		case c == '.' && label > 0 && s[i-1] != '-':
			label = 0
		default:
			return false
		}
		if label > maxLabelOctets {
			return false
		}
	}
	return label > 0 && s[len(s)-1] != '-'
}

// validUDomain checks a domain with U-labels (RFC 6531 section 3.3). It asks
// for what DomainKey asks for: that the name has an A-label form.
func validUDomain(s string) bool {
	if strings.HasSuffix(s, ".") {
		return false
	}
	_, err := DomainKey(s)
	return err == nil
}

// ParseLiteral parses an address literal of RFC 5321 section 4.1.3 with its
// brackets. General address literals other than IPv6 have no registered tag
// and are not accepted.
func ParseLiteral(s string) (netip.Addr, bool) {
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return netip.Addr{}, false
	}
	inner := s[1 : len(s)-1]
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		a, err := netip.ParseAddr(inner[5:])
		return a, err == nil && a.Is6() && a.Zone() == ""
	}
	a, err := netip.ParseAddr(inner)
	return a, err == nil && a.Is4()
}

func literalKey(s string) (string, error) {
	a, ok := ParseLiteral(s)
	if !ok {
		return "", errDomain
	}
	if a.Is4() {
		return "[" + a.String() + "]", nil
	}
	return "[ipv6:" + a.String() + "]", nil
}
