package smtpserver

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/internal/smtp"
)

// mayXClient is the check of XCLIENT.
func (s *session) mayXClient() smtp.Reply {
	if !s.known {
		return smtp.XClientDenied()
	}
	return smtp.Reply{}
}

// xclient does XCLIENT as Postfix's XCLIENT_README describes it: a trusted
// front end says for whom it speaks, and the session begins anew with a
// greeting. Its right to say so again stays with the front end.
func (s *session) xclient(ctx context.Context, args []byte) {
	next, ok := s.parseXClient(string(args))
	if !ok {
		s.say(smtp.BadArgument())
		return
	}
	s.handler.Close()
	s.handler = nil
	if s.release != nil {
		s.release()
		s.release = nil
	}
	if !s.conn.ProxiedFrom.IsValid() {
		next.ProxiedFrom = s.conn.Remote
	}
	next.User, next.UTF8 = "", false
	s.conn = &next // the old Session may keep its own
	s.state = fresh
	s.recipients, s.refusedHere, s.octets = 0, 0, 0
	if s.takePlace() && s.connect(ctx) {
		s.sayWords(2, s.srv.words.greeting)
		return
	}
	s.ending = true
}

// parseXClient returns the connection's facts with what the attributes say.
// Unknown attributes make it fail; LOGIN is known and ignored, because who
// speaks is proved here or not at all.
func (s *session) parseXClient(args string) (Conn, bool) {
	next := *s.conn
	next.Hello, next.ESMTP = "", false
	for _, attribute := range strings.Fields(args) {
		name, value, ok := strings.Cut(attribute, "=")
		if !ok {
			return Conn{}, false
		}
		value, err := smtp.DecodeXtext(value)
		if err != nil || !printable([]byte(value)) {
			return Conn{}, false
		}
		if strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]") {
			value = ""
		}
		if !setAttribute(&next, strings.ToUpper(name), value) {
			return Conn{}, false
		}
	}
	return next, true
}

// setAttribute takes one attribute; "" means that the front end does not know.
func setAttribute(c *Conn, name, value string) bool {
	ok := true
	switch name {
	case "ADDR":
		ok = setAddr(&c.Remote, value)
	case "PORT":
		ok = setPort(&c.Remote, value)
	case "DESTADDR":
		ok = setAddr(&c.Local, value)
	case "DESTPORT":
		ok = setPort(&c.Local, value)
	case "NAME":
		if _, err := smtp.DomainKey(value); value == "" || err == nil {
			c.PeerName = value
		}
	case "HELO":
		if ok = value == "" || validHello([]byte(value)); ok {
			c.Hello = value
		}
	case "PROTO":
		c.ESMTP = strings.EqualFold(value, "ESMTP")
		ok = value == "" || c.ESMTP || strings.EqualFold(value, "SMTP")
	case "LOGIN":
	default:
		ok = false
	}
	return ok
}

// setAddr takes "192.0.2.1" or "IPv6:2001:db8::1" (with or without the word).
// An unknown address leaves none: what belonged to the front end must not be
// taken for the client's.
func setAddr(a *netip.AddrPort, value string) bool {
	if value == "" {
		*a = netip.AddrPort{}
		return true
	}
	if len(value) > 5 && strings.EqualFold(value[:5], "IPv6:") {
		value = value[5:]
	}
	addr, err := netip.ParseAddr(value)
	if err != nil || addr.Zone() != "" {
		return false
	}
	*a = netip.AddrPortFrom(addr.Unmap(), a.Port())
	return true
}

func setPort(a *netip.AddrPort, value string) bool {
	if value == "" {
		*a = netip.AddrPortFrom(a.Addr(), 0)
		return true
	}
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return false
	}
	*a = netip.AddrPortFrom(a.Addr(), uint16(n))
	return true
}
