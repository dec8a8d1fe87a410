package smtpserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpwire"
	"github.com/postern-mail/postern/internal/telemetry"
)

// session is one connection. Only its own goroutine touches it, but for
// link.wake and the closing of raw.
type session struct {
	link
	rd      smtpwire.Reader
	raw     net.Conn // the TCP connection, below TLS
	conn    *Conn
	handler Session // nil until Connect answered
	content Content // not nil: content is being taken
	decoder smtpwire.Decoder
	release func() // of Config.Admit
	number  uint64

	state       state
	ending      bool // the last reply is said or due: close
	linger      bool // the client may still be sending: let it read why we close
	recipients  int  // accepted in this transaction
	refusedHere int  // refused in this transaction
	refused     int  // recipients refused since the last accepted message
	errors      int  // 5yz since the last accepted message
	verbs       int  // commands since the last accepted message
	mails       int  // MAIL accepted on this connection
	authFails   int
	octets      int64 // of the content being taken
	known       bool  // the peer may use XCLIENT
}

func newSession(srv *Server, nc net.Conn) *session {
	s := &session{raw: nc, state: fresh, number: srv.cfg.NextSession()}
	s.link = link{srv: srv, nc: nc, idle: true}
	s.conn = &Conn{
		Session:    s.number,
		Listener:   srv.cfg.Name,
		Submission: srv.cfg.Submission,
		Local:      addrPort(nc.LocalAddr()),
		Remote:     addrPort(nc.RemoteAddr()),
	}
	return s
}

// addrPort is zero for what is no TCP address.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// run is the session's goroutine.
func (s *session) run(ctx context.Context) {
	defer s.srv.leave(s)
	defer s.close()
	defer s.recovered()
	s.link.open(time.Now())
	s.rd.Open(&s.link, &s.srv.buffers, s.srv.cfg.Newlines)
	if s.arrive(ctx) {
		s.srv.tally.accepted.Inc()
		s.converse(ctx)
	}
}

// recovered turns a panic in this session into its end, and of no other.
func (s *session) recovered() {
	p := recover()
	if p == nil {
		return
	}
	s.srv.tally.panics.Inc()
	s.srv.tally.cuts[cutPanic].Inc()
	s.srv.cfg.Logger.Error("panic in session", telemetry.KeySession, s.number, telemetry.KeyListener, s.srv.cfg.Name,
		telemetry.KeyPeer, s.conn.Remote, telemetry.KeyPanic, p, telemetry.KeyStack, string(debug.Stack()))
	s.say(smtp.InternalError())
}

// close ends everything that the session holds. A panic of the handler here
// is counted and leaves the rest to be done.
func (s *session) close() {
	defer func() {
		s.rd.Close()
		_ = s.raw.Close()
		if s.release != nil {
			s.release()
		}
	}()
	if len(s.out) > 0 {
		_ = s.flush(time.Now())
	}
	defer s.recovered()
	if s.handler != nil {
		defer s.handler.Close()
	}
	s.abort()
	if s.linger {
		s.lingerOn()
	}
}

// abort ends content that was begun.
func (s *session) abort() {
	if c := s.content; c != nil {
		s.content = nil
		s.srv.tally.abandoned.Inc()
		c.Abort()
	}
}

// converse reads commands and has them done until the session ends.
func (s *session) converse(ctx context.Context) {
	for !s.ending {
		s.enter(phaseCommand)
		if !s.rd.HasLine() {
			s.rd.EndContent()
		} else if len(s.out) > maxDueReplies {
			if s.flush(time.Now()) != nil {
				return
			}
		}
		s.idle = s.state&(fresh|greeted) != 0
		line, err := s.rd.ReadLine(longLine)
		if err != nil {
			s.failed(err)
			return
		}
		s.command(ctx, line)
	}
}

// command does one command line.
func (s *session) command(ctx context.Context, line []byte) {
	line = trim(line)
	word, args := split(line)
	v := s.srv.lookup(word)
	if v == nil {
		s.srv.tally.unknown.Inc()
	} else {
		v.count.Inc()
	}
	s.verbs++
	switch {
	case chunkInDoubt(v, word, line):
		s.cutOff(cutChunkSize, smtp.BadChunkSize())
	case over(s.verbs, s.srv.cfg.MaxVerbs):
		s.cutOff(cutVerbs, smtp.TooManyCommands())
	case over(s.errors, s.srv.cfg.MaxErrors):
		s.cutOff(cutErrors, smtp.TooManyErrors())
	case !printable(line):
		s.say(smtp.BadOctets())
	case v == nil:
		s.say(smtp.UnknownVerb())
	case len(line)+2 > v.line:
		s.say(smtp.LineTooLong())
	case s.srv.cfg.RequireTLS && s.conn.TLS == nil && !v.clear:
		s.say(smtp.TLSFirst())
	default:
		s.perform(ctx, v, args)
	}
}

// chunkInDoubt reports whether a line is meant as BDAT and can't be read as
// one. Octets of a chunk may follow, and nobody knows how many.
func chunkInDoubt(v *verb, word, line []byte) bool {
	if v == nil {
		return len(word) > 4 && equalFold(word[:4], "BDAT")
	}
	return v.name == "BDAT" && (!printable(line) || len(line)+2 > v.line)
}

// perform checks a verb against the table and acts.
func (s *session) perform(ctx context.Context, v *verb, args []byte) {
	var r smtp.Reply
	switch {
	case s.state&v.in == 0:
		r = s.outOfTurn(v)
	case v.check != nil:
		r = v.check(s)
	}
	if r.IsZero() && (v.args == none && len(args) > 0 || v.args == required && len(args) == 0) {
		r = smtp.BadArgument()
	}
	switch {
	case r.IsZero():
		v.act(s, ctx, args)
	case v.name == "DATA":
		s.refuseData(r)
	default:
		s.say(r)
	}
}

// say makes r due, and the session's end if r says so.
func (s *session) say(r smtp.Reply) {
	if class := r.Code / 100; class >= 2 && class <= 5 {
		s.srv.tally.replies[class].Inc()
		if class == 5 {
			s.errors++
		}
	}
	s.out = r.AppendWire(s.out)
	if r.Close || r.Code == 421 {
		s.ending = true
	}
}

// sayWords makes a prepared reply due.
func (s *session) sayWords(class int, wire []byte) {
	s.srv.tally.replies[class].Inc()
	s.out = append(s.out, wire...)
}

// answer says r, or the prepared reply if r is zero. It reports whether the
// answer is positive.
func (s *session) answer(r smtp.Reply, wire []byte) bool {
	if r.IsZero() {
		s.sayWords(2, wire)
		return true
	}
	s.say(r)
	return r.Positive()
}

// cutOff says r and ends the session for a reason that is counted and logged.
func (s *session) cutOff(why cut, r smtp.Reply) {
	r.Close = true
	s.srv.tally.cuts[why].Inc()
	s.srv.cfg.Logger.Info("session cut", telemetry.KeySession, s.number, telemetry.KeyListener, s.srv.cfg.Name,
		telemetry.KeyPeer, s.conn.Remote, telemetry.KeyReason, why.String(), telemetry.KeyCode, r.Code, telemetry.KeyEnhanced, r.Enhanced.String())
	s.say(r)
	s.linger = true
}

// failed ends the session after an error of reading.
func (s *session) failed(err error) {
	switch {
	case errors.Is(err, smtpwire.ErrBareCR), errors.Is(err, smtpwire.ErrBareLF):
		s.cutOff(cutBareNewline, smtp.BareNewline())
	case errors.Is(err, smtpwire.ErrLineTooLong) && s.phase == phaseCommand:
		s.cutOff(cutLineTooLong, smtp.LineTooLong())
	case errors.Is(err, smtpwire.ErrLineTooLong):
		s.cutOff(cutLineTooLong, smtp.ContentLineTooLong())
	case errors.Is(err, smtpwire.ErrNUL):
		s.cutOff(cutContent, smtp.NulOctet())
	case errors.Is(err, errTimedOut):
		s.outOfTime(cutTimeout, smtp.TimedOut())
	case errors.Is(err, errTooSlow), errors.Is(err, errContentTotal):
		s.outOfTime(cutSlow, smtp.TooSlow())
	case errors.Is(err, errSessionTotal):
		s.outOfTime(cutSessionTotal, smtp.SessionTooLong())
	case errors.Is(err, errDraining):
		s.srv.tally.cuts[cutShutdown].Inc()
		s.say(smtp.ShuttingDown(s.srv.cfg.Hostname))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
	default:
		s.srv.cfg.Logger.Debug("client lost", telemetry.KeySession, s.number, telemetry.KeyListener, s.srv.cfg.Name,
			telemetry.KeyPeer, s.conn.Remote, telemetry.KeyError, err)
	}
	s.ending = true
}

// outOfTime cuts off a client for which there has been waiting enough.
func (s *session) outOfTime(why cut, r smtp.Reply) {
	s.cutOff(why, r)
	s.linger = false
}

// lingerOn lets a client that is still sending read the last reply: closing
// with unread octets would reset the connection and take the reply with it.
func (s *session) lingerOn() {
	by := time.Now().Add(s.srv.cfg.Deadlines.Linger)
	_ = s.raw.SetReadDeadline(by)
	if half, ok := s.nc.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	waste := s.srv.buffers.TakeContent()
	defer s.srv.buffers.GiveContent(waste)
	for left := int64(maxLingerOctets); left > 0 && !s.srv.draining.Load(); {
		n, err := s.raw.Read(waste[:])
		left -= int64(n)
		if err != nil {
			return
		}
	}
}

// maxLingerOctets bounds what is read for nothing after the last reply
// (chosen: 64 MiB, a little more than the largest message by default).
const maxLingerOctets = 64 << 20

// wake interrupts a wait for input so that it looks at the server's state. It
// is the one method that other goroutines call.
func (s *session) wake() { _ = s.raw.SetReadDeadline(time.Unix(1, 0)) }
