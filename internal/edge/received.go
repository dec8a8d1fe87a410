package edge

import (
	"net/netip"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

// trace is what one Received field says.
type trace struct {
	hello    string
	client   netip.Addr
	host     string
	protocol string
	tls      string
	id       envelope.ID
	// forward is the only recipient; the zero Path when there are several,
	// because no recipient may learn of another from the field.
	forward smtp.Path
	time    time.Time
}

// maxHelloInTrace bounds what a client may write into our trace field. Octets;
// 255 is the longest domain (RFC 5321 section 4.5.3.1.2).
const maxHelloInTrace = 255

// appendReceived appends the time-stamp-line of RFC 5321 section 4.4, folded,
// CRLF included. The TLS facts stand in a comment after the protocol word; no
// line is longer than 998 octets.
func appendReceived(dst []byte, t trace) []byte {
	dst = append(dst, "Received: from "...)
	dst = appendHello(dst, t.hello, t.client)
	if t.client.IsValid() {
		dst = append(dst, " ("...)
		dst = appendLiteral(dst, t.client)
		dst = append(dst, ')')
	}
	dst = append(dst, "\r\n\tby "...)
	dst = append(dst, t.host...)
	dst = append(dst, " with "...)
	dst = append(dst, t.protocol...)
	if t.tls != "" {
		dst = append(dst, " ("...)
		dst = appendPlain(dst, t.tls)
		dst = append(dst, ')')
	}
	dst = append(dst, "\r\n\tid "...)
	dst = append(dst, t.id.String()...)
	if !t.forward.IsNull() {
		dst = append(dst, "\r\n\tfor <"...)
		dst = append(dst, t.forward.String()...)
		dst = append(dst, '>')
	}
	dst = append(dst, ";\r\n\t"...)
	dst = t.time.AppendFormat(dst, "Mon, 02 Jan 2006 15:04:05 -0700")
	return append(dst, "\r\n"...)
}

// appendHello appends the HELO argument when it can stand as a domain or an
// address literal, with every octet that can't replaced by "?"; the client's
// address literal when nothing was said; "unknown" when the address is not
// known either (XCLIENT).
func appendHello(dst []byte, hello string, client netip.Addr) []byte {
	switch {
	case hello == "" && !client.IsValid():
		return append(dst, "unknown"...)
	case hello == "":
		return appendLiteral(dst, client)
	}
	if len(hello) > maxHelloInTrace {
		hello = hello[:maxHelloInTrace]
	}
	for i := range len(hello) {
		c := hello[i]
		if !isHelloOctet(c) {
			c = '?'
		}
		dst = append(dst, c)
	}
	return dst
}

func isHelloOctet(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']'
}

// appendPlain appends s without the octets that would end a comment.
func appendPlain(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '(' && c != ')' && c != '\\' || c == ' ' {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendLiteral appends the address literal of RFC 5321 section 4.1.3.
func appendLiteral(dst []byte, a netip.Addr) []byte {
	a = a.Unmap().WithZone("")
	dst = append(dst, '[')
	if a.Is6() {
		dst = append(dst, "IPv6:"...)
	}
	dst = a.AppendTo(dst)
	return append(dst, ']')
}
