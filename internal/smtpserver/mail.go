package smtpserver

import (
	"context"
	"errors"

	"github.com/postern-mail/postern/internal/smtp"
)

// replyOf returns the reply that err carries, or 451 4.3.0: what we do not
// understand is our doubt, not the client's fault.
func replyOf(err error) smtp.Reply {
	var known Replier
	if errors.As(err, &known) {
		if r := known.SMTPReply(); !r.IsZero() {
			return r
		}
	}
	return smtp.LocalError()
}

// mayMail is the check of MAIL.
func (s *session) mayMail() smtp.Reply {
	c := &s.srv.cfg
	switch {
	case s.srv.draining.Load():
		return smtp.ShuttingDown(c.Hostname)
	case c.MaxMessages >= 0 && s.mails >= c.MaxMessages:
		s.srv.tally.cuts[cutMessages].Inc()
		return smtp.TooManyMessages()
	case c.Submission && !c.AuthOptional && s.conn.User == "":
		return smtp.AuthRequired()
	}
	return smtp.Reply{}
}

func (s *session) mail(ctx context.Context, args []byte) {
	from, p, err := smtp.ParseMail(string(args))
	if err != nil {
		s.say(replyOf(err))
		return
	}
	if r := s.checkParams(&p); !r.IsZero() {
		s.say(r)
		return
	}
	s.conn.UTF8 = p.SMTPUTF8
	if !s.answer(s.handler.Mail(ctx, from, p), s.srv.words.mail) {
		s.conn.UTF8 = false
		return
	}
	s.mails++
	s.state = mailed
}

// checkParams refuses what this server can't do whoever asks, and drops an
// AUTH parameter from a client whose word does not count (RFC 4954 section 5).
func (s *session) checkParams(p *smtp.MailParams) smtp.Reply {
	if p.Body == smtp.BodyBinaryMIME {
		return smtp.NoBinaryMIME()
	}
	if limit := s.srv.cfg.MaxContentOctets; limit > 0 && p.Size > limit {
		return smtp.TooLarge()
	}
	if p.Auth != "" && s.conn.User == "" {
		p.Auth = "<>"
	}
	return smtp.Reply{}
}

// mayRcpt is the check of RCPT. Beyond the bound of refused recipients the
// Session is not asked any more: whoever walks through a list of guesses
// learns nothing, and a sender with many dead addresses tries the rest later.
func (s *session) mayRcpt() smtp.Reply {
	c := &s.srv.cfg
	if c.MaxRecipients >= 0 && s.recipients >= c.MaxRecipients || over(s.refused+1, c.MaxRefusedRecipients) {
		return smtp.TooManyRecipients()
	}
	return smtp.Reply{}
}

func (s *session) rcpt(ctx context.Context, args []byte) {
	to, p, err := smtp.ParseRcpt(string(args), s.conn.UTF8)
	if err != nil {
		s.refusedHere++
		s.say(replyOf(err))
		return
	}
	errs := s.errors
	r := s.handler.Rcpt(ctx, to, p)
	if s.answer(r, s.srv.words.rcpt) {
		s.recipients++
		s.state = rcpted
		return
	}
	s.errors = errs // refused recipients have a bound of their own
	s.refusedHere++
	if r.Permanent() {
		s.refused++
	}
}
