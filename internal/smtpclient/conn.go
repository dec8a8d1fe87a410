package smtpclient

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpwire"
)

// Target is one place to connect to.
type Target struct {
	// Host is the name that the certificate should bear and that the server
	// name indication says; an IP address has none.
	Host string
	Addr netip.AddrPort
	TLS  TLSPolicy
	// NoPipelining: do not pipeline, although the peer offers it. For peers
	// that were seen to lose commands.
	NoPipelining bool
}

// Conn is one connection whose greeting and hello are done. It is used by one
// goroutine at a time.
type Conn struct {
	client   *Client
	host     string
	raw, io  net.Conn // io is raw or the TLS connection on it
	peer     netip.AddrPort
	rd       smtpwire.Reader
	out      []byte // commands being put together
	greeting smtp.Reply
	ext      Extensions
	tls      TLSFacts

	opened, used time.Time
	messages     int
	dirty        bool        // a transaction was left open: RSET first
	closing      bool        // the peer said 421
	broken       bool        // an *Error was returned
	closed       bool        // Close was called
	afterDot     atomic.Bool // end-of-data is written: a cancel waits for Grace
}

// Dial connects to t and does all that comes before a transaction. When the
// handshake of opportunistic TLS fails it connects again, once, and stays in
// plain text; TLS().Failed says so. Every error is an *Error.
func (cl *Client) Dial(ctx context.Context, t Target) (*Conn, error) {
	c, e := cl.open(ctx, t)
	if e == nil {
		return c, nil
	}
	if e.Kind == TLSFailed && t.TLS.Mode == TLSOpportunistic && ctx.Err() == nil {
		failed := clip(e.Err.Error())
		t.TLS = TLSPolicy{Mode: TLSNone}
		if c, e = cl.open(ctx, t); e == nil {
			c.tls.Failed = failed
			return c, nil
		}
	}
	return nil, e
}

func (cl *Client) open(ctx context.Context, t Target) (*Conn, *Error) {
	raw, err := cl.connect(ctx, t.Addr)
	if err != nil {
		return nil, err
	}
	c := &Conn{client: cl, host: t.Host, raw: raw, io: raw, peer: t.Addr, opened: cl.cfg.Clock()}
	c.rd.Open(raw, &cl.buffers, smtpwire.Normalise)
	stop := context.AfterFunc(ctx, c.cut)
	err = c.begin(ctx, t)
	stop()
	if err != nil {
		c.Close()
		return nil, err
	}
	c.used = cl.cfg.Clock()
	return c, nil
}

func (cl *Client) connect(ctx context.Context, addr netip.AddrPort) (net.Conn, *Error) {
	dctx, cancel := context.WithTimeout(ctx, cl.cfg.Deadlines.Connect)
	defer cancel()
	conn, err := cl.dialer(addr.Addr()).DialContext(dctx, "tcp", addr.String())
	if err == nil {
		return conn, nil
	}
	e := &Error{Phase: Connect, Kind: Unreachable, Err: err}
	var ne net.Error
	e.Timeout = errors.As(err, &ne) && ne.Timeout() || dctx.Err() != nil
	switch {
	case late(ctx):
		e.Kind, e.Timeout = Slow, true
	case ctx.Err() != nil:
		e.Kind, e.Timeout = Cancelled, false
	}
	return nil, e
}

func (cl *Client) dialer(to netip.Addr) Dialer {
	if cl.cfg.Dialer != nil {
		return cl.cfg.Dialer
	}
	source := cl.cfg.Source4
	if to.Is6() && !to.Is4In6() {
		source = cl.cfg.Source6
	}
	d := &net.Dialer{KeepAlive: -1} // every wait has a deadline of its own
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return d
}

func (c *Conn) begin(ctx context.Context, t Target) *Error {
	if err := c.greet(ctx); err != nil {
		return err
	}
	if err := c.hello(ctx); err != nil {
		return err
	}
	switch {
	case t.TLS.Mode == TLSNone:
	case c.ext.StartTLS:
		if err := c.startTLS(ctx, t.TLS); err != nil {
			return err
		}
	case t.TLS.Mode == TLSRequired:
		return &Error{Phase: StartTLS, Kind: TLSMissing}
	}
	if t.NoPipelining {
		c.ext.Pipelining = false
	}
	return nil
}

// Extensions returns what the peer offered, after TLS if there is TLS.
func (c *Conn) Extensions() *Extensions { return &c.ext }

// TLS returns what is known of the connection's TLS.
func (c *Conn) TLS() TLSFacts { return c.tls }

// Host returns the Target's name.
func (c *Conn) Host() string { return c.host }

// Peer returns the peer's address.
func (c *Conn) Peer() netip.AddrPort { return c.peer }

// Messages returns how many transactions were begun.
func (c *Conn) Messages() int { return c.messages }

// Opened returns when the connection was made.
func (c *Conn) Opened() time.Time { return c.opened }

// Used returns when the last transaction ended, or when Dial returned.
func (c *Conn) Used() time.Time { return c.used }

// Usable reports whether nothing broke and the peer did not say 421. It does
// not look at the connection.
func (c *Conn) Usable() bool {
	return !c.broken && !c.closing && !c.closed && c.rd.Buffered() == 0
}

// Reusable reports whether another transaction may be sent: nothing broke, the
// peer did not say 421, and, as far as can be seen without waiting, it is
// still there and has said nothing out of turn.
func (c *Conn) Reusable() bool {
	return c.Usable() && quiet(c.raw)
}

// Reset ends an open transaction with RSET. Send does so by itself when it
// must; Reset is for those who want to know now. The error is an *Error.
func (c *Conn) Reset(ctx context.Context) error {
	stop := context.AfterFunc(ctx, c.cut)
	defer stop()
	r, err := c.command(ctx, Reset, "RSET")
	if err != nil {
		return err
	}
	if !r.Positive() {
		c.broken = true
		return c.refused(Reset, r)
	}
	c.dirty = false
	return nil
}

// Quit says QUIT where that makes sense, waits a moment for the reply, and
// closes. It takes at most Deadlines.Quit.
func (c *Conn) Quit() {
	if !c.broken && !c.closing && !c.closed {
		// The reply is read only so that the peer sees an orderly end.
		_, _ = c.command(context.Background(), Quit, "QUIT")
	}
	c.Close()
}

// Close ends the connection without a word. Closing twice is harmless.
func (c *Conn) Close() {
	if c.closed {
		return
	}
	c.closed = true
	// The raw connection: closing TLS would write, and could wait.
	_ = c.raw.Close() // nothing is promised on it any more
	c.rd.Close()
}

// command writes one line and reads its reply.
func (c *Conn) command(ctx context.Context, p Phase, line string) (smtp.Reply, *Error) {
	c.out = append(append(c.out[:0], line...), "\r\n"...)
	if err := c.write(ctx, p, c.out); err != nil {
		return smtp.Reply{}, err
	}
	return c.readReply(ctx, p)
}

// write writes b under the phase's deadline.
func (c *Conn) write(ctx context.Context, p Phase, b []byte) *Error {
	c.arm(ctx, c.client.cfg.Deadlines.of(p))
	if _, err := c.io.Write(b); err != nil {
		return c.breaks(ctx, p, err)
	}
	return nil
}

// readReply reads the next reply. Its deadline is for the whole reply, however
// it drips in. 421 marks the connection as closing.
func (c *Conn) readReply(ctx context.Context, p Phase) (smtp.Reply, *Error) {
	if !c.rd.HasLine() {
		c.arm(ctx, c.client.cfg.Deadlines.of(p))
	}
	r, err := c.rd.ReadReply()
	if err != nil {
		return smtp.Reply{}, c.breaks(ctx, p, err)
	}
	if r.Code == 421 {
		c.closing = true
	}
	return r, nil
}

// refused is the *Error for a reply that ends the connection's use.
func (c *Conn) refused(p Phase, r smtp.Reply) *Error {
	return &Error{Phase: p, Kind: Refused, Reply: r}
}

// breaks marks the connection and says why.
func (c *Conn) breaks(ctx context.Context, p Phase, err error) *Error {
	c.broken = true
	return broken(ctx, p, err)
}

// arm sets the deadline of what follows: d from now, or ctx's if that is
// earlier. After end-of-data ctx gives Grace.
func (c *Conn) arm(ctx context.Context, d time.Duration) {
	now := time.Now()
	t := now.Add(d)
	if end, ok := ctx.Deadline(); ok {
		if c.afterDot.Load() {
			if least := now.Add(c.client.cfg.Deadlines.Grace); end.Before(least) {
				end = least
			}
		}
		if end.Before(t) {
			t = end
		}
	}
	_ = c.raw.SetDeadline(t) // fails only on a closed connection; the I/O says so
	if ctx.Err() != nil {
		c.cut()
	}
}

// cut ends what is being waited for: at once, or within Grace where giving up
// would make a duplicate. It runs when ctx ends, beside the goroutine that
// waits; arm calls it again in case both met.
func (c *Conn) cut() {
	if c.afterDot.Load() {
		_ = c.raw.SetDeadline(time.Now().Add(c.client.cfg.Deadlines.Grace))
		return
	}
	_ = c.raw.SetDeadline(time.Unix(1, 0))
}
