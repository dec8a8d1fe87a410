package smtpserver

import (
	"strconv"

	"github.com/postern-mail/postern/internal/smtp"
)

// words are the replies of every message, ready for the wire, so that saying
// them costs no more than copying them.
type words struct {
	greeting, hello, ok, mail, rcpt, data, bye []byte
	ehlo                                       [2][2][]byte // by TLS, by XCLIENT
}

func (s *Server) makeWords() words {
	w := words{
		greeting: smtp.Greeting(s.cfg.Hostname).AppendWire(nil),
		hello:    smtp.Reply{Code: 250, Text: []string{s.cfg.Hostname}}.AppendWire(nil),
		ok:       smtp.OK().AppendWire(nil),
		mail:     smtp.MailOK().AppendWire(nil),
		rcpt:     smtp.RcptOK().AppendWire(nil),
		data:     smtp.StartContent().AppendWire(nil),
		bye:      smtp.Bye(s.cfg.Hostname).AppendWire(nil),
	}
	for tls := range 2 {
		for xclient := range 2 {
			r := smtp.Reply{Code: 250, Text: s.keywords(tls == 1, xclient == 1)}
			w.ehlo[tls][xclient] = r.AppendWire(nil)
		}
	}
	return w
}

// keywords returns the lines of the EHLO reply: the extensions that hold for
// this listener in this state, and no others.
func (s *Server) keywords(tls, xclient bool) []string {
	c := &s.cfg
	lines := []string{c.Hostname, "PIPELINING"}
	if c.MaxContentOctets > 0 {
		lines = append(lines, "SIZE "+strconv.FormatInt(c.MaxContentOctets, 10))
	} else {
		lines = append(lines, "SIZE")
	}
	if c.TLS != nil && !tls {
		lines = append(lines, "STARTTLS")
	}
	if c.Submission && tls {
		lines = append(lines, "AUTH PLAIN LOGIN")
	}
	lines = append(lines, "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING")
	if l := s.limits(); l != "" {
		lines = append(lines, l)
	}
	if xclient {
		lines = append(lines, "XCLIENT ADDR PORT NAME HELO PROTO DESTADDR DESTPORT")
	}
	return append(lines, "HELP")
}

// limits returns the LIMITS keyword of RFC 9422 with the bounds that this
// server enforces.
func (s *Server) limits() string {
	text := ""
	if n := s.cfg.MaxMessages; n > 0 {
		text += " MAILMAX=" + strconv.Itoa(n)
	}
	if n := s.cfg.MaxRecipients; n > 0 {
		text += " RCPTMAX=" + strconv.Itoa(n)
	}
	if text == "" {
		return ""
	}
	return "LIMITS" + text
}
