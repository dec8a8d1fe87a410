package smtpserver

import (
	"errors"
	"net"
	"os"
	"time"
)

// Reasons for which reading from a client ends, besides the errors of the
// connection itself.
var (
	errTimedOut     = errors.New("deadline passed")
	errTooSlow      = errors.New("minimum rate missed")
	errContentTotal = errors.New("content total reached")
	errSessionTotal = errors.New("session total reached")
	errDraining     = errors.New("server is shutting down")
)

// phase says which deadline counts.
type phase uint8

const (
	phaseCommand phase = iota // one deadline for the whole line
	phaseContent              // one for each read, and the minimum rate
	phaseProxy                // one for the whole PROXY header
	phaseGreet                // the wait before the greeting
)

// link is the session's way to the client: it writes the replies that are
// due before it waits for input (so that a pipelined group of commands gets one
// write, RFC 2920 section 3.2) and keeps the deadlines.
//
// The deadline of the connection is armed lazily: it may lie before the one
// that counts, never after it. When it passes, the true one is looked at and
// armed again if it is not over. So a change of phase seldom costs a call into
// the runtime's timers.
type link struct {
	srv     *Server
	nc      net.Conn
	out     []byte // replies that are due
	phase   phase
	since   time.Time     // start of the phase
	last    time.Time     // start of this wait
	waited  time.Duration // in this phase of content, before this wait
	total   time.Time     // end of the session
	wholeBy time.Time     // end of the time for this message's content, zero before its first wait
	got     int64         // octets read in this phase of content
	armed   time.Time     // the connection's read deadline
	writeBy time.Time     // the connection's write deadline
	idle    bool          // no transaction: a server that stops may say 421 now
}

// open arms both deadlines in one call.
func (l *link) open(now time.Time) {
	d := &l.srv.cfg.Deadlines
	l.since = now
	l.total = now.Add(d.Session)
	by := now.Add(min(d.Command, d.Write, d.Session))
	l.armed, l.writeBy = by, by
	_ = l.nc.SetDeadline(by)
}

// enter begins a phase; its time runs from the next Read on.
func (l *link) enter(p phase) { l.phase, l.since, l.got = p, time.Time{}, 0 }

// Read implements io.Reader for the smtpwire.Reader. Errors are errTimedOut
// and its kin, or the connection's own.
func (l *link) Read(p []byte) (int, error) {
	now := time.Now()
	if err := l.flush(now); err != nil {
		return 0, err
	}
	if l.since.IsZero() {
		l.since, l.waited = now, 0
	}
	if l.phase == phaseContent && l.wholeBy.IsZero() {
		l.wholeBy = now.Add(l.srv.cfg.Deadlines.Content)
	}
	l.last = now
	for {
		if err := l.arm(now); err != nil {
			return 0, err
		}
		// After arm, so that a deadline that Shutdown sets is not overwritten.
		if l.idle && l.srv.draining.Load() || l.srv.drained.Load() {
			return 0, errDraining
		}
		n, err := l.nc.Read(p)
		if n > 0 {
			if l.phase == phaseContent {
				l.got += int64(n)
				l.waited += time.Since(now)
			}
			return n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		l.armed = time.Time{}
		then := now
		now = time.Now()
		l.waited += now.Sub(then)
	}
}

// arm looks at the deadlines and sets the connection's if it lies beyond the
// nearest of them.
func (l *link) arm(now time.Time) error {
	by, why := l.deadline()
	if !now.Before(by) {
		return why
	}
	if l.armed.IsZero() || l.armed.After(by) {
		l.armed = by
		return l.nc.SetReadDeadline(by)
	}
	return nil
}

// deadline returns the nearest deadline and what to say when it passes.
func (l *link) deadline() (time.Time, error) {
	d := &l.srv.cfg.Deadlines
	by, why := l.since, errTimedOut
	switch l.phase {
	case phaseCommand:
		by = by.Add(d.Command)
	case phaseProxy:
		by = by.Add(d.ProxyHeader)
	case phaseGreet:
		by = by.Add(l.srv.cfg.GreetWait)
	case phaseContent:
		by = l.last.Add(d.DataBlock)
		if slow := l.slowest(); slow.Before(by) {
			by, why = slow, errTooSlow
		}
		if l.wholeBy.Before(by) {
			by, why = l.wholeBy, errContentTotal
		}
	}
	if l.total.Before(by) {
		by, why = l.total, errSessionTotal
	}
	return by, why
}

// slowest returns until when a client that keeps to the minimum rate has sent
// more than it did. Only time spent waiting for it counts: while the content
// is being written here, it is not the client that is slow.
func (l *link) slowest() time.Time {
	rate := int64(l.srv.cfg.MinRate)
	if rate <= 0 {
		return l.total
	}
	earned := time.Duration(l.got/rate) * time.Second
	return l.last.Add(l.srv.cfg.Deadlines.RateGrace + earned - l.waited)
}

// flush writes the replies that are due, in one write.
func (l *link) flush(now time.Time) error {
	if len(l.out) == 0 {
		return nil
	}
	if wait := l.srv.cfg.Deadlines.Write; l.writeBy.Sub(now) < wait/2 {
		l.writeBy = now.Add(wait)
		if err := l.nc.SetWriteDeadline(l.writeBy); err != nil {
			return err
		}
	}
	_, err := l.nc.Write(l.out)
	if cap(l.out) > maxKeptReplies {
		l.out = nil
	}
	l.out = l.out[:0]
	return err
}

// maxKeptReplies is the reply buffer that an idle session may keep (chosen:
// EHLO's reply fits), maxDueReplies what may wait to be written before more
// commands of a group are looked at.
const (
	maxKeptReplies = 512
	maxDueReplies  = 16 << 10
)
