package relay

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpclient"
)

// Bounds of what is kept of a peer's words, and of our own, in octets; chosen.
const (
	maxReplyKept  = 2048
	maxDetailKept = 500
)

// attempt is one Deliver while it goes on.
type attempt struct {
	lane    *Lane
	env     *envelope.Envelope
	content io.ReaderAt
	size    int64
	begun   time.Time // wall clock, UTC
	started time.Time // monotonic
	out     []envelope.Outcome
	pending []int // positions in out that another host may do better
	trail   []string
}

func newAttempt(l *Lane, env *envelope.Envelope, rcpts []int, content io.ReaderAt, size int64) *attempt {
	a := &attempt{
		lane: l, env: env, content: content, size: size,
		begun: l.relay.cfg.Clock().UTC(), started: time.Now(),
		out: make([]envelope.Outcome, len(rcpts)), pending: make([]int, len(rcpts)),
	}
	for i, r := range rcpts {
		a.out[i].Recipient = r
		a.pending[i] = i
	}
	return a
}

// open reports whether there is a recipient left for the next host.
func (a *attempt) open() bool { return len(a.pending) > 0 }

// carry sends what is pending over the lane's connection. It returns true when
// another host (or a fresh connection) should be turned to.
func (a *attempt) carry(ctx context.Context) (again bool) {
	l := a.lane
	todo := a.pending
	a.pending = nil
	todo = a.withoutUTF8(todo)
	most := len(todo)
	if n := l.conn.Extensions().RcptMax; n > 0 {
		most = min(most, n) // RFC 9422 section 4.2
	}
	for len(todo) > 0 {
		batch := todo[:min(most, len(todo))]
		todo = todo[len(batch):]
		if !a.transact(ctx, batch) {
			a.putOff(todo)
			break
		}
	}
	return a.open()
}

// putOff leaves recipients for another connection whose turn did not come on
// this one.
func (a *attempt) putOff(todo []int) {
	for _, pos := range todo {
		a.record(pos, trouble{phase: smtpclient.Mail, kind: smtpclient.Closed}, smtp.Reply{}, "the connection ended before its turn came")
	}
}

// withoutUTF8 takes out the recipients whose address this peer can't be told,
// so that the others are not held up by them.
func (a *attempt) withoutUTF8(todo []int) []int {
	if a.lane.conn.Extensions().SMTPUTF8 || len(todo) < 2 {
		return todo
	}
	needs := func(pos int) bool {
		return smtpclient.NeedsSMTPUTF8(a.env.Forward[a.out[pos].Recipient].Path)
	}
	if !slices.ContainsFunc(todo, needs) {
		return todo
	}
	rest := make([]int, 0, len(todo))
	for _, pos := range todo {
		if needs(pos) {
			t := trouble{phase: smtpclient.Rcpt, kind: smtpclient.NeedSMTPUTF8}
			a.record(pos, t, smtp.Reply{}, smtpclient.NeedSMTPUTF8.String())
			continue
		}
		rest = append(rest, pos)
	}
	return rest
}

// transact sends one transaction and records what became of its recipients.
// It is false when the connection is of no use for the rest.
func (a *attempt) transact(ctx context.Context, batch []int) bool {
	l := a.lane
	again := l.conn.Messages() > 0
	res, err := l.conn.Send(ctx, a.transaction(batch))
	if err != nil && again && isStale(&res, err) && ctx.Err() == nil {
		// The peer hung up while nothing was going on and we had not seen it:
		// nothing was said to this message yet, so nothing is recorded.
		l.relay.metrics.stale.Inc()
		l.drop()
		a.pending = append(a.pending, batch...)
		return false
	}
	for k, pos := range batch {
		t, r := a.troubleOf(&res, k, err)
		a.record(pos, t, r, detailOf(err))
		if a.out[pos].Verdict == envelope.AdviceDelivered {
			n := a.env.Forward[a.out[pos].Recipient].Params.Notify
			// RFC 3461 section 5.2.2.
			a.out[pos].Relayed = !res.DSN && n&smtp.NotifySuccess != 0
		}
	}
	if err != nil {
		l.learn(err)
		a.noteHost(fromError(err))
	}
	if !l.conn.Usable() {
		l.drop()
		return false
	}
	return err == nil
}

// isStale reports whether a connection that stood already broke before the
// peer said a word to the new message.
func isStale(res *smtpclient.Result, err error) bool {
	var e *smtpclient.Error
	return errors.As(err, &e) && e.Kind == smtpclient.Closed && !e.AfterData && res.Mail.IsZero() &&
		(e.Phase == smtpclient.Mail || e.Phase == smtpclient.Reset)
}

func (a *attempt) transaction(batch []int) *smtpclient.Transaction {
	l := a.lane
	l.rcpts = l.rcpts[:0]
	for _, pos := range batch {
		f := &a.env.Forward[a.out[pos].Recipient]
		l.rcpts = append(l.rcpts, smtpclient.Recipient{Path: f.Path, Params: f.Params})
	}
	return &smtpclient.Transaction{
		Reverse: a.env.Reverse, Params: a.env.Params, Rcpts: l.rcpts,
		Content: a.content, Size: a.size, EightBit: a.env.EightBit, UTF8: a.env.UTF8,
	}
}

// troubleOf finds what counts for recipient k: the first thing in the dialogue
// that went against it, or the reply to end-of-data.
func (a *attempt) troubleOf(res *smtpclient.Result, k int, err error) (trouble, smtp.Reply) {
	rcpt := res.Rcpts[k]
	var e *smtpclient.Error
	broke := errors.As(err, &e)
	switch {
	case broke && e.Kind == smtpclient.Protocol:
		// The replies may belong to other commands than we think: none counts.
		return fromError(err), e.Reply
	case !res.Mail.IsZero() && !res.Mail.Positive():
		return fromReply(smtpclient.Mail, res.Mail), res.Mail
	case !rcpt.IsZero() && !rcpt.Positive():
		return fromReply(smtpclient.Rcpt, rcpt), rcpt
	case !res.End.IsZero() && !rcpt.IsZero():
		return fromReply(smtpclient.EndOfData, res.End), res.End
	case broke:
		return fromError(err), e.Reply
	case !res.Data.IsZero() && res.Data.Code != 354:
		return fromReply(smtpclient.Data, res.Data), res.Data
	}
	return trouble{}, smtp.Reply{}
}

// record decides about one recipient. What an earlier host left open is
// overruled, except that its doubt outweighs another host's lack of something.
func (a *attempt) record(pos int, t trouble, r smtp.Reply, detail string) {
	d := decide(t)
	o := &a.out[pos]
	if d.nextHost {
		a.pending = append(a.pending, pos)
		if o.Verdict == envelope.AdviceDefer && d.verdict == envelope.AdviceFail {
			return
		}
	}
	o.Verdict, o.SiteDown = d.verdict, d.siteDown
	at := &o.Attempt
	at.Cause = d.cause
	at.Reply = clipReply(r)
	at.Detail = ""
	if r.IsZero() {
		at.Detail = clip(detail, maxDetailKept)
	}
	if c := a.lane.conn; c != nil {
		at.Host, at.Peer, at.TLS = c.Host(), c.Peer(), c.TLS().String()
	}
}

// unreached records that no transaction could be begun at p.
func (a *attempt) unreached(p place, err error) {
	t := fromError(err)
	if t.phase == smtpclient.Connect {
		a.all(t, p, netip.AddrPort{}, smtp.Reply{}, err.Error())
		return
	}
	var e *smtpclient.Error
	errors.As(err, &e)
	a.all(t, p, p.addr, e.Reply, err.Error())
}

// stuck records that there is no host, or none any more. A name that did not
// resolve says less than a host that was tried and left doubt.
func (a *attempt) stuck(sn *snag) {
	a.pending = slices.DeleteFunc(a.pending, func(pos int) bool { return a.out[pos].Verdict == envelope.AdviceDefer })
	a.all(sn.trouble, place{host: sn.host}, netip.AddrPort{}, smtp.Reply{}, sn.detail)
}

// all records the same for everything that is pending.
func (a *attempt) all(t trouble, p place, peer netip.AddrPort, r smtp.Reply, detail string) {
	todo := a.pending
	a.pending = nil
	for _, pos := range todo {
		a.record(pos, t, r, detail)
		at := &a.out[pos].Attempt
		at.Host, at.Peer, at.TLS = p.host, peer, ""
	}
	a.hostTried(p.host, t)
}

// noteHost counts what broke on the lane's connection.
func (a *attempt) noteHost(t trouble) { a.hostTried(a.lane.conn.Host(), t) }

func (a *attempt) hostTried(host string, t trouble) {
	d := decide(t)
	a.lane.relay.metrics.trouble(t, d)
	if len(a.trail) < a.lane.relay.cfg.MaxAddrs {
		a.trail = append(a.trail, strings.TrimSpace(host+" "+d.cause.String()))
	}
}

// finish fills in what all outcomes share.
func (a *attempt) finish() []envelope.Outcome {
	took := time.Since(a.started)
	delivered := false
	for i := range a.out {
		o := &a.out[i]
		if o.Verdict == 0 { // a defect: never lose a recipient over it
			o.Verdict, o.Attempt.Cause = envelope.AdviceDefer, cause.LocalInternal
		}
		o.Attempt.Time, o.Attempt.Duration, o.Attempt.NextHop = a.begun, took, a.lane.hop.Key
		if o.Verdict == envelope.AdviceDelivered {
			delivered = true
		} else if len(a.trail) > 1 {
			o.Attempt.Detail = clip(strings.TrimLeft(o.Attempt.Detail+"; tried: "+strings.Join(a.trail, ", "), "; "), maxDetailKept)
		}
		a.lane.relay.metrics.outcome(o)
	}
	if delivered {
		a.lane.relay.metrics.seconds.Observe(took.Seconds())
	}
	return a.out
}

func detailOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// clipReply bounds what is kept of a peer's words: whole lines first.
func clipReply(r smtp.Reply) smtp.Reply {
	left := maxReplyKept
	for i, line := range r.Text {
		if len(line) > left {
			text := slices.Clone(r.Text[:i+1])
			text[i] = line[:left]
			r.Text = text
			return r
		}
		left -= len(line)
	}
	return r
}

func clip(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}

// cancelled is the trouble that an ended context is.
func cancelled(ctx context.Context) trouble {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return trouble{kind: smtpclient.Slow, timeout: true}
	}
	return trouble{kind: smtpclient.Cancelled}
}
