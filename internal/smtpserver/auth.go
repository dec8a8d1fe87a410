package smtpserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"unicode/utf8"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpwire"
)

// The prompts of LOGIN, "Username:" and "Password:" in base64. LOGIN has no
// RFC; draft-murchison-sasl-login describes what clients expect.
const (
	promptUser     = "VXNlcm5hbWU6"
	promptPassword = "UGFzc3dvcmQ6"
)

// errDone says that the reply was already said.
var errDone = errors.New("answered")

// credentials are what an exchange brought.
type credentials struct{ authzid, user, password string }

// mayAuth is the check of AUTH.
func (s *session) mayAuth() smtp.Reply {
	switch {
	case !s.srv.cfg.Submission:
		return smtp.NotImplemented()
	case s.conn.TLS == nil:
		return smtp.AuthNeedsTLS()
	case s.conn.User != "":
		return smtp.AuthAlready()
	}
	return smtp.Reply{}
}

// auth does AUTH (RFC 4954) with PLAIN (RFC 4616) and LOGIN.
func (s *session) auth(ctx context.Context, args []byte) {
	word, initial := split(args)
	mechanism := ""
	var c credentials
	var err error
	switch {
	case equalFold(word, "PLAIN"):
		mechanism = "PLAIN"
		c, err = s.plain(initial)
	case equalFold(word, "LOGIN"):
		mechanism = "LOGIN"
		c, err = s.login(initial)
	default:
		s.say(smtp.AuthUnknownMechanism())
		return
	}
	switch {
	case errors.Is(err, errDone):
	case err != nil:
		s.authFailed(smtp.AuthMalformed())
	default:
		s.verify(ctx, mechanism, c)
	}
}

// verify asks the Session.
func (s *session) verify(ctx context.Context, mechanism string, c credentials) {
	r := s.handler.Auth(ctx, mechanism, c.authzid, c.user, c.password)
	switch {
	case r.IsZero():
		r = smtp.AuthOK()
	case !r.Positive():
		s.authFailed(r)
		return
	}
	s.srv.tally.authOK.Inc()
	s.conn.User = c.user
	s.say(r)
}

// authFailed says r, or ends the session of one that guesses. What could not
// be checked (4yz) is no guess.
func (s *session) authFailed(r smtp.Reply) {
	s.srv.tally.authFailed.Inc()
	if r.Permanent() {
		s.authFails++
	}
	if s.srv.cfg.MaxAuthFailures >= 0 && s.authFails >= s.srv.cfg.MaxAuthFailures {
		s.cutOff(cutAuth, smtp.AuthTooManyFailures())
		return
	}
	s.say(r)
}

// plain takes the one response of PLAIN: authzid NUL user NUL password.
func (s *session) plain(initial []byte) (credentials, error) {
	response, err := s.response(initial, "")
	if err != nil {
		return credentials{}, err
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 {
		return credentials{}, errors.New("response of PLAIN")
	}
	return makeCredentials(parts[0], parts[1], parts[2])
}

// login takes the two responses of LOGIN. The first may come with the command.
func (s *session) login(initial []byte) (credentials, error) {
	user, err := s.response(initial, promptUser)
	if err != nil {
		return credentials{}, err
	}
	password, err := s.response(nil, promptPassword)
	if err != nil {
		return credentials{}, err
	}
	if len(user) == 0 || len(password) == 0 {
		return credentials{}, errors.New("response of LOGIN")
	}
	return makeCredentials(nil, user, password)
}

// makeCredentials refuses identities that could not stand in a log or trace
// field: controls, and what is not UTF-8. A password may hold what it likes,
// but NUL (RFC 4616 section 2).
func makeCredentials(authzid, user, password []byte) (credentials, error) {
	for _, id := range [][]byte{authzid, user} {
		if !printable(id) || !utf8.Valid(id) {
			return credentials{}, errors.New("identity")
		}
	}
	if !utf8.Valid(password) || bytes.IndexByte(password, 0) >= 0 {
		return credentials{}, errors.New("password")
	}
	return credentials{string(authzid), string(user), string(password)}, nil
}

// response decodes an initial response, or asks for one and reads it. The
// result is a copy: the reader's line does not outlive the next one.
//
// Departs from RFC 4954 section 4: a line of the exchange is bounded by 2,048
// octets, not 12,288. PLAIN and LOGIN need no more, and a session keeps no
// larger buffer.
func (s *session) response(initial []byte, prompt string) ([]byte, error) {
	line := initial
	if len(line) == 0 {
		s.out = append(s.out, "334 "...)
		s.out = append(append(s.out, prompt...), '\r', '\n')
		s.enter(phaseCommand)
		var err error
		if line, err = s.rd.ReadLine(longLine); err != nil {
			s.authLost(err)
			return nil, errDone
		}
		if len(line) == 1 && line[0] == '*' {
			s.say(smtp.AuthCancelled())
			return nil, errDone
		}
	} else if len(line) == 1 && line[0] == '=' {
		return nil, nil // RFC 4954 section 4: an empty initial response
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, err := base64.StdEncoding.Strict().Decode(out, line)
	return out[:n], err
}

func (s *session) authLost(err error) {
	if errors.Is(err, smtpwire.ErrLineTooLong) {
		s.cutOff(cutLineTooLong, smtp.AuthLineTooLong())
		return
	}
	s.failed(err)
}
