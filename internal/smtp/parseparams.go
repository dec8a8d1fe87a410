package smtp

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// maxEnvIDOctets and maxORcptOctets are RFC 3461 sections 4.4 and 4.2.
const (
	maxEnvIDOctets = 100
	maxORcptOctets = 500
)

// ParseMail parses what follows "MAIL " in a MAIL command:
// "FROM:<reverse-path> parameters". The error is of type *Error.
func ParseMail(args string) (Path, MailParams, error) {
	var m MailParams
	p, rest, err := parseEnvelope(args, "FROM:")
	if err != nil {
		return Path{}, m, err
	}
	if p.Domain == "" && p.Local != "" {
		return Path{}, m, pathError("no domain")
	}
	seen := uint(0)
	err = eachParam(rest, func(key, value string, given bool) error {
		bit, err := m.set(key, value, given)
		if err == nil && seen&bit != 0 {
			err = paramError(key + " given twice")
		}
		seen |= bit
		return err
	})
	if err != nil {
		return Path{}, MailParams{}, err
	}
	if !m.SMTPUTF8 && !p.ASCII() {
		return Path{}, MailParams{}, &Error{What: "non-ASCII address without SMTPUTF8", reply: NeedSMTPUTF8()}
	}
	return p, m, nil
}

// ParseRcpt parses what follows "RCPT " in a RCPT command: "TO:<forward-path>
// parameters". utf8 says whether the transaction's MAIL had SMTPUTF8. The
// error is of type *Error. The null path is refused.
func ParseRcpt(args string, utf8 bool) (Path, RcptParams, error) {
	var r RcptParams
	p, rest, err := parseEnvelope(args, "TO:")
	if err == nil && p.IsNull() {
		err = pathError("null forward-path")
	}
	if err != nil {
		return Path{}, r, forwardError(err)
	}
	seen := uint(0)
	err = eachParam(rest, func(key, value string, given bool) error {
		bit, err := r.set(key, value, given)
		if err == nil && seen&bit != 0 {
			err = paramError(key + " given twice")
		}
		seen |= bit
		return err
	})
	if err != nil {
		return Path{}, RcptParams{}, err
	}
	if !utf8 && !(p.ASCII() && isASCII(rest)) {
		return Path{}, RcptParams{}, &Error{What: "non-ASCII address without SMTPUTF8", reply: NeedSMTPUTF8()}
	}
	return p, r, nil
}

// forwardError gives a path error the enhanced code of a destination.
func forwardError(err error) error {
	var e *Error
	if errors.As(err, &e) && e.reply.Enhanced == BadPath().Enhanced {
		return &Error{What: e.What, reply: BadForwardPath()}
	}
	return err
}

// parseEnvelope parses "FROM:" or "TO:", the path, and checks that what
// follows is nothing or begins with a space.
//
// Departs from RFC 5321 section 3.3: spaces after the colon are accepted.
func parseEnvelope(args, word string) (Path, string, error) {
	if len(args) < len(word) || !strings.EqualFold(args[:len(word)], word) {
		return Path{}, "", &Error{What: "no " + word, reply: BadSyntax()}
	}
	p, rest, err := ParsePath(strings.TrimLeft(args[len(word):], " "))
	if err != nil {
		return Path{}, "", err
	}
	if rest != "" && rest[0] != ' ' {
		return Path{}, "", pathError("octets after the path")
	}
	return p, rest, nil
}

// eachParam calls set for each esmtp-param of RFC 5321 section 4.1.2. given
// says whether there was a "=".
func eachParam(s string, set func(key, value string, given bool) error) error {
	for {
		s = strings.TrimLeft(s, " ")
		if s == "" {
			return nil
		}
		word := s
		if i := strings.IndexByte(s, ' '); i >= 0 {
			word, s = s[:i], s[i:]
		} else {
			s = ""
		}
		key, value, given := strings.Cut(word, "=")
		if !validKeyword(key) || !validValue(value) || given && value == "" {
			return paramError("parameter syntax")
		}
		if err := set(key, value, given); err != nil {
			return err
		}
	}
}

// set takes one parameter of MAIL and returns its bit for the check against
// parameters that come twice.
func (m *MailParams) set(key, value string, given bool) (bit uint, err error) {
	switch {
	case strings.EqualFold(key, "SIZE"):
		m.Size, err = parseSize(value)
		return 1, err
	case strings.EqualFold(key, "BODY"):
		m.Body, err = parseBody(value)
		return 2, err
	case strings.EqualFold(key, "SMTPUTF8"):
		if m.SMTPUTF8 = true; given {
			err = paramError("SMTPUTF8 has no value")
		}
		return 4, err
	case strings.EqualFold(key, "RET"):
		m.Ret, err = parseRet(value)
		return 8, err
	case strings.EqualFold(key, "ENVID"):
		m.EnvID, err = parseXtext(value)
		if err == nil && (m.EnvID == "" || len(m.EnvID) > maxEnvIDOctets || !printableASCII(m.EnvID)) {
			err = paramError("ENVID")
		}
		return 16, err
	case strings.EqualFold(key, "AUTH"):
		m.Auth, err = parseAuthParam(value)
		return 32, err
	}
	return 0, &Error{What: "unknown parameter " + key, reply: UnknownParameter()}
}

// set takes one parameter of RCPT, as MailParams.set does.
func (r *RcptParams) set(key, value string, _ bool) (bit uint, err error) {
	switch {
	case strings.EqualFold(key, "NOTIFY"):
		r.Notify, err = parseNotify(value)
		return 1, err
	case strings.EqualFold(key, "ORCPT"):
		r.ORcpt, err = parseORcpt(value)
		return 2, err
	}
	return 0, &Error{What: "unknown parameter " + key, reply: UnknownParameter()}
}

// parseSize takes up to 20 digits (RFC 1870 section 4). What does not fit in
// an int64 is larger than any message and comes back as MaxInt64.
func parseSize(s string) (int64, error) {
	if s == "" || len(s) > 20 {
		return 0, paramError("SIZE")
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, paramError("SIZE")
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64, nil
	}
	return n, nil
}

func parseBody(s string) (Body, error) {
	switch {
	case strings.EqualFold(s, "7BIT"):
		return Body7Bit, nil
	case strings.EqualFold(s, "8BITMIME"):
		return Body8BitMIME, nil
	case strings.EqualFold(s, "BINARYMIME"):
		return BodyBinaryMIME, nil
	}
	return 0, paramError("BODY")
}

func parseRet(s string) (Ret, error) {
	switch {
	case strings.EqualFold(s, "FULL"):
		return RetFull, nil
	case strings.EqualFold(s, "HDRS"):
		return RetHdrs, nil
	}
	return 0, paramError("RET")
}

// parseAuthParam decodes the AUTH parameter of RFC 4954 section 5: "<>" stays
// as it is, else an xtext mailbox.
func parseAuthParam(s string) (string, error) {
	if s == "<>" {
		return s, nil
	}
	d, err := parseXtext(s)
	if err != nil {
		return "", err
	}
	if !validUTF8(d) || hasControl(d) || d == "" {
		return "", paramError("AUTH")
	}
	return d, nil
}

// parseNotify is RFC 3461 section 4.1: NEVER alone, or a list.
func parseNotify(s string) (Notify, error) {
	var n Notify
	for word := range strings.SplitSeq(s, ",") {
		var bit Notify
		switch {
		case strings.EqualFold(word, "NEVER"):
			bit = NotifyNever
		case strings.EqualFold(word, "SUCCESS"):
			bit = NotifySuccess
		case strings.EqualFold(word, "FAILURE"):
			bit = NotifyFailure
		case strings.EqualFold(word, "DELAY"):
			bit = NotifyDelay
		}
		if bit == 0 || n&bit != 0 {
			return 0, paramError("NOTIFY")
		}
		n |= bit
	}
	if n&NotifyNever != 0 && n != NotifyNever {
		return 0, paramError("NOTIFY=NEVER stands alone")
	}
	return n, nil
}

// parseORcpt is RFC 3461 section 4.2, "addr-type;xtext", and for the type
// utf-8 the three forms of RFC 6533 section 3.
func parseORcpt(s string) (string, error) {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || kind == "" || addr == "" || len(s) > maxORcptOctets {
		return "", paramError("ORCPT")
	}
	for i := 0; i < len(kind); i++ {
		if !isAtext(kind[i]) {
			return "", paramError("ORCPT address type")
		}
	}
	d, err := parseXtext(addr)
	if err == nil && strings.EqualFold(kind, "utf-8") {
		d, err = decodeUnicodeChars(d)
	}
	if err != nil {
		return "", err
	}
	if d == "" || hasControl(d) || !validUTF8(d) || !isASCII(d) && !strings.EqualFold(kind, "utf-8") {
		return "", paramError("ORCPT address")
	}
	return kind + ";" + d, nil
}

// validKeyword is esmtp-keyword: (ALPHA / DIGIT) *(ALPHA / DIGIT / "-").
func validKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

// validValue is esmtp-value of RFC 5321 section 4.1.2 with the octets above
// 127 of RFC 6531 section 3.3. "=" is let through for base64 and ORCPT of
// careless clients; each parameter's own grammar decides.
func validValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

func printableASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}
