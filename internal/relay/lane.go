package relay

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtpclient"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

// Lane carries messages to one next hop, one after the other, over a
// connection that it keeps between them. It is used by one goroutine.
type Lane struct {
	relay *Relay
	hop   tenant.NextHop
	conn  *smtpclient.Conn // nil: cold
	// lockStep holds addresses whose peer took MAIL of a pipelined group and
	// never answered the rest: they are spoken to one command at a time.
	lockStep map[netip.AddrPort]bool
	rcpts    []smtpclient.Recipient // used again by each transaction
}

// maxLockStep bounds Lane.lockStep; chosen.
const maxLockStep = 32

// Deliver tries the recipients whose indexes into env.Forward are given (1 to
// 1,000) and returns one Outcome for each, in their order. content is read from
// 0 to size. Deliver ends soon after ctx does, and keeps none of its arguments.
func (l *Lane) Deliver(ctx context.Context, env *envelope.Envelope, rcpts []int, content io.ReaderAt, size int64) []envelope.Outcome {
	cfg := &l.relay.cfg
	total := cfg.Total + time.Duration(size/int64(cfg.TotalRate))*time.Second
	ctx, cancel := context.WithTimeout(ctx, total)
	defer cancel()
	a := newAttempt(l, env, rcpts, content, size)
	if !l.warm() || a.carry(ctx) {
		l.deliverCold(ctx, a)
	}
	return a.finish()
}

// Connected reports whether the lane holds a connection.
func (l *Lane) Connected() bool { return l.conn != nil }

// Close ends the connection, if there is one, in an orderly way that takes at
// most smtpclient's Deadlines.Quit.
func (l *Lane) Close() {
	if l.conn == nil {
		return
	}
	l.conn.Quit()
	l.forget()
}

// drop ends the connection without a word.
func (l *Lane) drop() {
	if l.conn == nil {
		return
	}
	l.conn.Close()
	l.forget()
}

func (l *Lane) forget() {
	l.conn = nil
	l.relay.metrics.open.Dec()
}

// warm reports whether the lane's connection can take one more message, and
// ends it when it can't.
func (l *Lane) warm() bool {
	if l.conn == nil {
		return false
	}
	cfg, now := &l.relay.cfg, time.Now()
	most := cfg.MaxMessages
	if n := l.conn.Extensions().MailMax; n > 0 {
		most = min(most, n) // RFC 9422 section 4.1
	}
	switch {
	case !l.conn.Reusable():
		l.relay.metrics.stale.Inc()
		l.drop()
	case l.conn.Messages() >= most, now.Sub(l.conn.Opened()) >= cfg.MaxAge, now.Sub(l.conn.Used()) >= cfg.MaxIdle:
		l.Close()
	default:
		l.relay.metrics.reused.Inc()
		return true
	}
	return false
}

// deliverCold turns to the next hop's hosts in order until nothing is pending
// that another host may do better.
func (l *Lane) deliverCold(ctx context.Context, a *attempt) {
	until := l.relay.tryUntil(time.Now())
	opening, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.relay.halted, cancel)()
	rt, sn := l.relay.begin(opening, l.hop)
	if sn != nil {
		a.stuck(sn)
		return
	}
	for a.open() {
		p, ok := rt.next(opening)
		if !ok {
			if sn := rt.why(); sn != nil {
				a.stuck(sn)
			}
			return
		}
		l.Close()
		if err := l.connect(opening, p); err != nil {
			a.unreached(p, err)
		} else {
			a.carry(ctx)
		}
		if opening.Err() != nil || time.Now().After(until) {
			return
		}
	}
}

// connect makes the lane warm.
func (l *Lane) connect(ctx context.Context, p place) error {
	conn, err := l.relay.cfg.Client.Dial(ctx, smtpclient.Target{
		Host: p.host, Addr: p.addr, TLS: tlsPolicy(l.hop.TLS), NoPipelining: l.lockStep[p.addr],
	})
	if err != nil {
		return err
	}
	l.conn = conn
	l.relay.metrics.connected(conn)
	telemetry.FailPoint("relay.connected")
	return nil
}

func tlsPolicy(m tenant.TLSMode) smtpclient.TLSPolicy {
	switch m {
	case tenant.TLSNone:
		return smtpclient.TLSPolicy{Mode: smtpclient.TLSNone}
	case tenant.TLSRequired:
		return smtpclient.TLSPolicy{Mode: smtpclient.TLSRequired}
	}
	return smtpclient.TLSPolicy{Mode: smtpclient.TLSOpportunistic}
}

// learn remembers a peer that lost commands of a pipelined group.
func (l *Lane) learn(err error) {
	var e *smtpclient.Error
	if !errors.As(err, &e) || e.Kind != smtpclient.Timeout || !l.conn.Extensions().Pipelining {
		return
	}
	if (e.Phase == smtpclient.Rcpt || e.Phase == smtpclient.Data) && len(l.lockStep) < maxLockStep {
		if l.lockStep == nil {
			l.lockStep = map[netip.AddrPort]bool{}
		}
		l.lockStep[l.conn.Peer()] = true
	}
}
