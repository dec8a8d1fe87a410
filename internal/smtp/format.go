package smtp

import (
	"strconv"
	"strings"
)

// AppendMail appends the MAIL command for p with the parameters that are set
// in m, without CRLF. The caller clears what the peer does not offer.
func AppendMail(dst []byte, p Path, m MailParams) []byte {
	dst = append(dst, "MAIL FROM:"...)
	dst = p.AppendWire(dst)
	if m.Size > 0 {
		dst = append(dst, " SIZE="...)
		dst = strconv.AppendInt(dst, m.Size, 10)
	}
	switch m.Body {
	case Body8BitMIME:
		dst = append(dst, " BODY=8BITMIME"...)
	case BodyBinaryMIME:
		dst = append(dst, " BODY=BINARYMIME"...)
	}
	if m.SMTPUTF8 {
		dst = append(dst, " SMTPUTF8"...)
	}
	switch m.Ret {
	case RetFull:
		dst = append(dst, " RET=FULL"...)
	case RetHdrs:
		dst = append(dst, " RET=HDRS"...)
	}
	if m.EnvID != "" {
		dst = append(dst, " ENVID="...)
		dst = AppendXtext(dst, m.EnvID)
	}
	if m.Auth != "" {
		dst = append(dst, " AUTH="...)
		if m.Auth == "<>" {
			return append(dst, m.Auth...)
		}
		dst = AppendXtext(dst, m.Auth)
	}
	return dst
}

// AppendRcpt appends the RCPT command for p with the parameters that are set
// in r, without CRLF. utf8 says whether the transaction's MAIL had SMTPUTF8: it
// chooses the form of a non-ASCII ORCPT (RFC 6533 section 3).
func AppendRcpt(dst []byte, p Path, r RcptParams, utf8 bool) []byte {
	dst = append(dst, "RCPT TO:"...)
	dst = p.AppendWire(dst)
	if r.Notify != 0 {
		dst = append(dst, " NOTIFY="...)
		dst = append(dst, r.Notify.String()...)
	}
	if kind, addr, ok := strings.Cut(r.ORcpt, ";"); ok {
		dst = append(dst, " ORCPT="...)
		dst = append(dst, kind...)
		dst = append(dst, ';')
		switch {
		case !strings.EqualFold(kind, "utf-8"):
			dst = AppendXtext(dst, addr)
		case utf8:
			dst = appendUnitext(dst, addr)
		default:
			dst = appendUnicodeChars(dst, addr)
		}
	}
	return dst
}

// String returns the value of the NOTIFY parameter, "" when it was not given.
func (n Notify) String() string {
	if n&NotifyNever != 0 {
		return "NEVER"
	}
	var words []string
	for i, word := range []string{"SUCCESS", "FAILURE", "DELAY"} {
		if n&(NotifySuccess<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ",")
}

// String returns the value of the BODY parameter.
func (b Body) String() string {
	switch b {
	case Body8BitMIME:
		return "8BITMIME"
	case BodyBinaryMIME:
		return "BINARYMIME"
	}
	return "7BIT"
}

// String returns the value of the RET parameter, "" when it was not given.
func (r Ret) String() string {
	switch r {
	case RetFull:
		return "FULL"
	case RetHdrs:
		return "HDRS"
	}
	return ""
}
