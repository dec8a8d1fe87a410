package smtp

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789ABCDEF"

// DecodeXtext decodes the xtext of RFC 3461 section 4. Lower-case hexadecimal
// digits and octets above 127 (RFC 6533 section 3) are accepted.
func DecodeXtext(s string) (string, error) { return parseXtext(s) }

func parseXtext(s string) (string, error) {
	if strings.IndexByte(s, '+') < 0 {
		if strings.IndexByte(s, '=') >= 0 {
			return "", paramError("xtext")
		}
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '=':
			return "", paramError("xtext")
		case '+':
			if i+2 >= len(s) {
				return "", paramError("xtext")
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || s[i+1] == '+' || s[i+1] == '_' {
				return "", paramError("xtext")
			}
			b = append(b, byte(n))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b), nil
}

// AppendXtext appends s as the xtext of RFC 3461 section 4. Octets outside
// 33 to 126, "+" and "=" are written in hexadecimal.
func AppendXtext(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '+' || c == '=' {
			dst = append(dst, '+', hexDigits[c>>4], hexDigits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// decodeUnicodeChars decodes the EmbeddedUnicodeChar of RFC 6533 section 3,
// "\x{HEXPOINT}".
func decodeUnicodeChars(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	for s != "" {
		before, after, found := strings.Cut(s, `\x{`)
		if strings.IndexByte(before, '\\') >= 0 {
			return "", paramError("embedded Unicode character")
		}
		b.WriteString(before)
		if !found {
			break
		}
		hex, rest, closed := strings.Cut(after, "}")
		n, err := strconv.ParseUint(hex, 16, 32)
		if !closed || err != nil || len(hex) < 2 || len(hex) > 6 || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
			return "", paramError("embedded Unicode character")
		}
		b.WriteRune(rune(n))
		s = rest
	}
	return b.String(), nil
}

// appendUnicodeChars appends s in the utf-8-addr-xtext form of RFC 6533
// section 3, which is ASCII only.
func appendUnicodeChars(dst []byte, s string) []byte {
	for _, r := range s {
		if r <= ' ' || r > '~' || r == '+' || r == '=' || r == '\\' {
			dst = append(dst, `\x{`...)
			if r < 0x10 {
				dst = append(dst, '0')
			}
			dst = append(dst, strings.ToUpper(strconv.FormatInt(int64(r), 16))...)
			dst = append(dst, '}')
		} else {
			dst = append(dst, byte(r))
		}
	}
	return dst
}

// appendUnitext appends s in the utf-8-addr-unitext form of RFC 6533 section
// 3: UTF-8 as it is, what is special in ASCII as embedded characters.
func appendUnitext(dst []byte, s string) []byte {
	for _, r := range s {
		if r >= utf8.RuneSelf {
			dst = utf8.AppendRune(dst, r)
		} else {
			dst = appendUnicodeChars(dst, string(r))
		}
	}
	return dst
}
