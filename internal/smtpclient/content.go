package smtpclient

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/postern-mail/postern/internal/smtpwire"
	"github.com/postern-mail/postern/internal/telemetry"
)

// salvage is how long a reply is waited for after a write failed: a peer that
// gives up in the middle of content often says why before it closes. Chosen.
const salvage = time.Second

// content writes the content after 354, dots doubled, and reads the reply.
func (c *Conn) content(ctx context.Context, t *Transaction, res *Result) *Error {
	if c.rd.Buffered() > 0 { // the end's reply, before there is an end
		return c.breaks(ctx, Data, ErrOutOfTurn)
	}
	var enc smtpwire.Encoder
	err := c.stream(ctx, t, func(dst, piece []byte, last bool) []byte {
		dst = enc.Append(dst, piece)
		if last {
			dst = enc.End(dst)
		}
		return dst
	})
	if err != nil {
		return err
	}
	return c.end(ctx, res)
}

// chunk writes the content as one BDAT and reads the reply. It goes out as it
// is: RFC 3030 knows no dots.
func (c *Conn) chunk(ctx context.Context, t *Transaction, res *Result) *Error {
	first := true
	err := c.stream(ctx, t, func(dst, piece []byte, _ bool) []byte {
		if first {
			dst = appendBDAT(dst, t.Size)
			first = false
		}
		return append(dst, piece...)
	})
	if err != nil {
		return err
	}
	return c.end(ctx, res)
}

// emptyContent ends a DATA that no recipient is left for.
func (c *Conn) emptyContent(ctx context.Context) *Error {
	if err := c.write(ctx, EndOfData, append(c.out[:0], ".\r\n"...)); err != nil {
		return err
	}
	_, err := c.step(ctx, EndOfData)
	if err == nil {
		c.dirty = false
	}
	return err
}

// encodeFunc appends a piece of content to dst as it goes on the wire, and
// after the last piece what ends it.
type encodeFunc func(dst, piece []byte, last bool) []byte

// stream reads the content piece by piece, encodes and writes it. Small
// content goes out in one write together with its end.
func (c *Conn) stream(ctx context.Context, t *Transaction, encode encodeFunc) *Error {
	s := c.client.takeScratch()
	defer c.client.giveScratch(s)
	r := rate{min: c.client.cfg.MinRate, free: c.client.cfg.MinRateAfter, begin: time.Now()}
	half := false
	for at := int64(0); ; {
		piece := s.in[:min(int64(len(s.in)), t.Size-at)]
		if telemetry.DrillBuild {
			piece = piece[:halved(len(piece), at == 0)]
		}
		if err := readFull(t, piece, at); err != nil {
			c.broken = true
			return err
		}
		at += int64(len(piece))
		last := at == t.Size
		s.out = encode(s.out[:0], piece, last)
		if last {
			return c.writeLast(ctx, s.out)
		}
		if err := c.writePiece(ctx, s.out, &r); err != nil {
			return err
		}
		if telemetry.DrillBuild && !half {
			half = true
			telemetry.FailPoint("relay.content.half")
		}
	}
}

// halved makes the first piece of a drill build's content half of what it
// could be, so that there is a moment in the middle.
func halved(n int, first bool) int {
	if first && n > 1 {
		return n / 2
	}
	return n
}

// writeLast writes what ends with end-of-data. When all of it went out the
// peer may take the message, whatever we get to read.
func (c *Conn) writeLast(ctx context.Context, b []byte) *Error {
	if telemetry.DrillBuild {
		// The last three octets alone: a moment at which all but the end is out.
		cut := max(0, len(b)-3)
		if err := c.writePiece(ctx, b[:cut], &rate{}); err != nil {
			return err
		}
		telemetry.FailPoint("relay.before-dot")
		b = b[cut:]
	}
	if err := c.writePiece(ctx, b, &rate{}); err != nil {
		return err
	}
	c.afterDot.Store(true)
	telemetry.FailPoint("relay.after-dot")
	return nil
}

// writePiece writes b under the deadlines of a block and of the least rate.
func (c *Conn) writePiece(ctx context.Context, b []byte, r *rate) *Error {
	r.sent += int64(len(b))
	d, byRate := r.deadline(time.Now(), c.client.cfg.Deadlines.Block)
	c.arm(ctx, d)
	_, err := c.io.Write(b)
	if err == nil {
		return nil
	}
	e := c.breaks(ctx, Content, err)
	switch {
	case e.Kind == Timeout && byRate:
		e.Kind = Slow
	case e.Kind == Closed:
		c.salvageReply(ctx, e)
	}
	return e
}

// salvageReply reads what the peer said before it closed. It gives the words
// only: a refusal in the middle of content has no standing (RFC 5321 section
// 4.1.1.4), and the octets after it may have been lost on either way.
func (c *Conn) salvageReply(ctx context.Context, e *Error) {
	c.arm(ctx, salvage)
	if r, err := c.rd.ReadReply(); err == nil {
		e.Reply = r
	}
}

// rate holds a content to a least rate.
type rate struct {
	min   int // octets per second, below 1: none
	free  time.Duration
	begin time.Time
	sent  int64 // octets that will be out when the next write returns
}

// deadline is how long the next write may take: a block's time, or what the
// rate leaves if that is less. It is at least a millisecond, so that a write
// that would not wait goes through.
func (r *rate) deadline(now time.Time, block time.Duration) (d time.Duration, byRate bool) {
	if r.min < 1 || r.begin.IsZero() {
		return block, false
	}
	allowed := r.free + time.Duration(r.sent)*time.Second/time.Duration(r.min)
	left := max(r.begin.Add(allowed).Sub(now), time.Millisecond)
	if left < block {
		return left, true
	}
	return block, false
}

// readFull fills b from the content at off.
func readFull(t *Transaction, b []byte, off int64) *Error {
	if len(b) == 0 {
		return nil
	}
	n, err := t.Content.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.Join(ErrShortContent, err)
	}
	return &Error{Phase: Content, Kind: Local, Err: err}
}
