package smtpserver

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpwire"
)

// state is where a session stands between two commands; the values are bits,
// so that a verb can name all in which it may come.
type state uint8

const (
	fresh   state = 1 << iota // no EHLO or HELO yet, or none since STARTTLS or XCLIENT
	greeted                   // EHLO or HELO was said, no transaction
	mailed                    // MAIL was accepted, no RCPT yet
	rcpted                    // at least one RCPT was accepted
	chunked                   // BDAT has begun

	always = fresh | greeted | mailed | rcpted | chunked
)

// Bounds of a command line in octets with CRLF: RFC 5321 section 4.5.3.1.4,
// and what the extensions add (RFC 1870, 3461, 4954, 6531).
const (
	shortLine = 512
	longLine  = smtpwire.CommandBuffer
)

// arguments says whether a verb has any.
type arguments uint8

const (
	optional arguments = iota
	none
	required
)

// verb is one row of the table: where it may come, what is checked before,
// and what is done.
type verb struct {
	name  string
	in    state // states in which it may come
	clear bool  // allowed before TLS where TLS is required
	line  int   // bound of the line
	args  arguments
	check func(*session) smtp.Reply // nil: none; a reply that is not zero is said instead
	act   func(*session, context.Context, []byte)
	count prometheus.Counter
}

// verbTable is the grammar of a session, one verb a line.
func verbTable() []verb {
	return []verb{
		{"EHLO", always, true, shortLine, required, nil, (*session).ehlo, nil},
		{"HELO", always, true, shortLine, required, nil, (*session).helo, nil},
		{"MAIL", greeted, false, longLine, required, (*session).mayMail, (*session).mail, nil},
		{"RCPT", mailed | rcpted, false, longLine, required, (*session).mayRcpt, (*session).rcpt, nil},
		{"DATA", rcpted, false, shortLine, none, nil, (*session).data, nil},
		{"BDAT", always, true, shortLine, optional, nil, (*session).bdat, nil},
		{"RSET", always, true, shortLine, none, nil, (*session).rset, nil},
		{"NOOP", always, true, shortLine, optional, nil, (*session).noop, nil},
		{"QUIT", always, true, shortLine, none, nil, (*session).quit, nil},
		{"STARTTLS", fresh | greeted, true, shortLine, none, (*session).mayStartTLS, (*session).startTLS, nil},
		{"AUTH", greeted, true, longLine, required, (*session).mayAuth, (*session).auth, nil},
		{"VRFY", always &^ fresh, false, longLine, required, nil, (*session).vrfy, nil},
		{"EXPN", always, false, longLine, optional, notImplemented, nil, nil},
		{"HELP", always, false, shortLine, optional, nil, (*session).help, nil},
		{"ETRN", always, false, shortLine, optional, notImplemented, nil, nil},
		{"TURN", always, false, shortLine, optional, notImplemented, nil, nil},
		{"SEND", always, false, shortLine, optional, notImplemented, nil, nil},
		{"SOML", always, false, shortLine, optional, notImplemented, nil, nil},
		{"SAML", always, false, shortLine, optional, notImplemented, nil, nil},
		{"XCLIENT", fresh | greeted, true, longLine, required, (*session).mayXClient, (*session).xclient, nil},
		{"GET", always, true, longLine, optional, nil, (*session).foreign, nil},
		{"PUT", always, true, longLine, optional, nil, (*session).foreign, nil},
		{"HEAD", always, true, longLine, optional, nil, (*session).foreign, nil},
		{"POST", always, true, longLine, optional, nil, (*session).foreign, nil},
		{"CONNECT", always, true, longLine, optional, nil, (*session).foreign, nil},
		{"OPTIONS", always, true, longLine, optional, nil, (*session).foreign, nil},
	}
}

func notImplemented(*session) smtp.Reply { return smtp.NotImplemented() }

// lookup finds a verb; case does not matter (RFC 5321 section 2.4). nil: none.
func (s *Server) lookup(word []byte) *verb {
	for i := range s.verbs {
		if equalFold(word, s.verbs[i].name) {
			return &s.verbs[i]
		}
	}
	return nil
}

// equalFold compares with a name in upper case. A letter is one by its bit 5
// and the range of the name, so "@" is not taken for "`".
func equalFold(word []byte, name string) bool {
	if len(word) != len(name) {
		return false
	}
	for i, c := range word {
		if c != name[i] && c != name[i]|0x20 {
			return false
		}
	}
	return true
}

// trim takes white space off the end of a line (RFC 5321 section 4.1.1 asks to
// tolerate it).
func trim(line []byte) []byte {
	for len(line) > 0 && (line[len(line)-1] == ' ' || line[len(line)-1] == '\t') {
		line = line[:len(line)-1]
	}
	return line
}

// split cuts a line into its verb and the rest, without the spaces between.
func split(line []byte) (word, args []byte) {
	for i, c := range line {
		if c == ' ' {
			word, args = line[:i], line[i+1:]
			for len(args) > 0 && args[0] == ' ' {
				args = args[1:]
			}
			return word, args
		}
	}
	return line, nil
}

// printable reports whether a command holds no control character. A tab is
// one too: RFC 5321 has no use for it inside a command.
func printable(line []byte) bool {
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// outOfTurn is the reply to a verb that may not come in state st.
func (s *session) outOfTurn(v *verb) smtp.Reply {
	switch {
	case s.state == fresh:
		return smtp.HelloFirst()
	case s.state == chunked:
		return smtp.BadSequence()
	case v.in == greeted && v.name == "MAIL":
		return smtp.NestedMail()
	case s.state == greeted:
		return smtp.MailFirst()
	case s.state == mailed && v.name == "DATA":
		return s.noRecipients()
	}
	return smtp.BadSequence()
}

// noRecipients tells a client that named none from one whose every recipient
// was refused (RFC 5321 section 3.3).
func (s *session) noRecipients() smtp.Reply {
	if s.refusedHere > 0 {
		return smtp.NoValidRecipients()
	}
	return smtp.RcptFirst()
}
