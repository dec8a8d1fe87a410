package smtpserver

import (
	"context"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/smtp"
)

func (s *session) ehlo(ctx context.Context, args []byte) { s.hello(ctx, args, true) }

func (s *session) helo(ctx context.Context, args []byte) { s.hello(ctx, args, false) }

// hello does EHLO and HELO: it ends an open transaction (RFC 5321 section
// 4.1.4) and answers with what holds now.
func (s *session) hello(ctx context.Context, args []byte, esmtp bool) {
	if !validHello(args) {
		s.say(smtp.BadArgument())
		return
	}
	s.reset()
	s.conn.Hello, s.conn.ESMTP = string(args), esmtp
	wire := s.srv.words.hello
	if esmtp {
		wire = s.srv.words.ehlo[bit(s.conn.TLS != nil)][bit(s.known)]
	}
	if s.answer(s.handler.Hello(ctx), wire) {
		s.state = greeted
	} else {
		s.conn.Hello, s.conn.ESMTP, s.state = "", false, fresh
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// validHello accepts one word of printable ASCII that can stand in a Received
// field without quoting.
//
// Departs from RFC 5321 section 4.1.1.1: what is no domain and no address
// literal is accepted, because many real clients have no name to give and
// section 4.1.4 forbids to refuse mail for that.
func validHello(arg []byte) bool {
	if len(arg) == 0 || len(arg) > 255 {
		return false
	}
	for _, c := range arg {
		if c <= ' ' || c > '~' || strings.IndexByte(`()<>,;\"`, c) >= 0 {
			return false
		}
	}
	return true
}

// reset ends a transaction, whatever became of it.
func (s *session) reset() {
	s.abort()
	if s.state&(mailed|rcpted|chunked) != 0 {
		s.state = greeted
	}
	s.recipients, s.refusedHere, s.octets = 0, 0, 0
	s.wholeBy = time.Time{}
	s.conn.UTF8 = false
	s.handler.Reset()
}

func (s *session) rset(context.Context, []byte) {
	s.reset()
	s.sayWords(2, s.srv.words.ok)
}

func (s *session) noop(context.Context, []byte) { s.sayWords(2, s.srv.words.ok) }

func (s *session) quit(context.Context, []byte) {
	s.sayWords(2, s.srv.words.bye)
	s.ending = true
}

func (s *session) vrfy(context.Context, []byte) { s.say(smtp.CannotVerify()) }

func (s *session) help(context.Context, []byte) { s.say(smtp.HelpText()) }

// foreign ends sessions in which a browser was led to speak SMTP.
func (s *session) foreign(context.Context, []byte) {
	s.cutOff(cutForeign, smtp.NotHTTP())
}
