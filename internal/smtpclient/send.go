package smtpclient

import (
	"context"
	"fmt"
	"strconv"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/telemetry"
)

// oneWriteMax is the largest content that goes out together with its MAIL, in
// octets: what fits a usual socket buffer, so that the write does not wait.
const oneWriteMax = 32 << 10

// Send carries t over the connection. The Result holds what was answered, also
// beside an error. A nil error means that the dialogue came to its end and the
// replies in the Result say how; an error is always an *Error. An *Error of
// kind TooLarge, Need8BitMIME or NeedSMTPUTF8 leaves the connection as it was.
func (c *Conn) Send(ctx context.Context, t *Transaction) (Result, error) {
	res := Result{Rcpts: make([]smtp.Reply, len(t.Rcpts)), DSN: c.ext.DSN}
	if err := c.fits(t); err != nil {
		return res, err
	}
	c.messages++
	c.afterDot.Store(false)
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, c.cut)
		defer stop()
	}
	err := c.transact(ctx, t, &res)
	if err != nil {
		c.broken = true
		return res, err
	}
	c.used = c.client.cfg.Clock()
	return res, nil
}

func (c *Conn) transact(ctx context.Context, t *Transaction, res *Result) *Error {
	x, mode := &c.ext, c.client.cfg.Chunking
	switch {
	case x.Pipelining && x.Chunking && mode == ChunkingOneWrite && t.Size <= oneWriteMax:
		return c.oneWrite(ctx, t, res)
	case x.Pipelining:
		return c.pipelined(ctx, t, res)
	}
	return c.lockStep(ctx, t, res, x.Chunking && mode != ChunkingNever)
}

// pipelined writes MAIL, all RCPT and DATA at once (RFC 2920), and the content
// once the peer has said 354.
func (c *Conn) pipelined(ctx context.Context, t *Transaction, res *Result) *Error {
	telemetry.FailPoint("relay.before-data")
	reset := c.appendEnvelope(t)
	c.out = append(c.out, "DATA\r\n"...)
	c.dirty = true
	if err := c.write(ctx, Mail, c.out); err != nil {
		return err
	}
	if err := c.readEnvelope(ctx, t, res, reset); err != nil {
		return err
	}
	r, err := c.step(ctx, Data)
	res.Data = r
	if err != nil {
		return err
	}
	if c.rd.Buffered() > 0 {
		// One reply too many: which one was whose?
		return c.breaks(ctx, Data, ErrOutOfTurn)
	}
	if r.Code != 354 {
		return nil // the transaction stays open at the peer: dirty
	}
	if res.Accepted() == 0 {
		// RFC 2920 section 3.1: DATA was accepted although no recipient was, so
		// that a single dot has to follow. Its reply means nothing.
		return c.emptyContent(ctx)
	}
	return c.content(ctx, t, res)
}

// appendEnvelope puts RSET where it is needed, MAIL and RCPT into c.out.
func (c *Conn) appendEnvelope(t *Transaction) (reset bool) {
	c.out = c.out[:0]
	if c.dirty {
		c.out = append(c.out, "RSET\r\n"...)
		reset = true
	}
	utf8 := c.wantsUTF8(t)
	c.out = c.appendMail(c.out, t, utf8)
	for i := range t.Rcpts {
		c.out = c.appendRcpt(c.out, &t.Rcpts[i], utf8)
	}
	return reset
}

// readEnvelope reads the replies to what appendEnvelope put.
func (c *Conn) readEnvelope(ctx context.Context, t *Transaction, res *Result, reset bool) *Error {
	var err *Error
	if reset {
		if _, err = c.step(ctx, Reset); err != nil {
			return err
		}
	}
	if res.Mail, err = c.step(ctx, Mail); err != nil {
		return err
	}
	for i := range t.Rcpts {
		if res.Rcpts[i], err = c.step(ctx, Rcpt); err != nil {
			return err
		}
	}
	return nil
}

// step reads a reply that is 2yz, 4yz, 5yz or, to DATA, 354. After 421 nothing
// more is asked.
func (c *Conn) step(ctx context.Context, p Phase) (smtp.Reply, *Error) {
	r, err := c.readReply(ctx, p)
	switch {
	case err != nil:
		return r, err
	case r.Code == 421:
		return r, c.refused(p, r)
	case r.Code/100 == 3 && (p != Data || r.Code != 354), p == Data && r.Positive():
		return r, c.unexpected(ctx, p, r)
	}
	return r, nil
}

func (c *Conn) unexpected(ctx context.Context, p Phase, r smtp.Reply) *Error {
	e := c.breaks(ctx, p, fmt.Errorf("%w: %d", ErrUnexpectedCode, r.Code))
	e.Reply = r
	return e
}

// lockStep waits for every reply. With chunking the content follows RCPT in
// one BDAT, which saves the wait for 354.
func (c *Conn) lockStep(ctx context.Context, t *Transaction, res *Result, chunking bool) *Error {
	utf8 := c.wantsUTF8(t)
	if c.dirty {
		c.out = append(c.out[:0], "RSET\r\n"...)
		if _, err := c.ask(ctx, Reset); err != nil {
			return err
		}
		c.dirty = false
	}
	var err *Error
	c.out = c.appendMail(c.out[:0], t, utf8)
	if res.Mail, err = c.ask(ctx, Mail); err != nil {
		return err
	}
	if !res.Mail.Positive() {
		return nil
	}
	c.dirty = true
	for i := range t.Rcpts {
		c.out = c.appendRcpt(c.out[:0], &t.Rcpts[i], utf8)
		if res.Rcpts[i], err = c.ask(ctx, Rcpt); err != nil {
			return err
		}
	}
	if res.Accepted() == 0 {
		return nil
	}
	telemetry.FailPoint("relay.before-data")
	if chunking {
		return c.chunk(ctx, t, res)
	}
	c.out = append(c.out[:0], "DATA\r\n"...)
	if res.Data, err = c.ask(ctx, Data); err != nil || res.Data.Code != 354 {
		return err
	}
	return c.content(ctx, t, res)
}

// ask writes c.out and reads its reply.
func (c *Conn) ask(ctx context.Context, p Phase) (smtp.Reply, *Error) {
	if c.rd.Buffered() > 0 {
		return smtp.Reply{}, c.breaks(ctx, p, ErrOutOfTurn)
	}
	if err := c.write(ctx, p, c.out); err != nil {
		return smtp.Reply{}, err
	}
	return c.step(ctx, p)
}

// oneWrite writes the envelope and a BDAT with the whole content at once. From
// that write on the peer may hold the message.
func (c *Conn) oneWrite(ctx context.Context, t *Transaction, res *Result) *Error {
	telemetry.FailPoint("relay.before-data")
	s := c.client.takeScratch()
	defer c.client.giveScratch(s)
	content := s.in[:t.Size]
	if err := readFull(t, content, 0); err != nil {
		return err
	}
	reset := c.appendEnvelope(t)
	c.out = appendBDAT(c.out, t.Size)
	c.out = append(c.out, content...)
	c.dirty = true
	if err := c.writeLast(ctx, c.out); err != nil {
		return err
	}
	err := c.readEnvelope(ctx, t, res, reset)
	if err == nil {
		err = c.end(ctx, res)
	}
	if err != nil {
		err.AfterData = true
	}
	return err
}

func appendBDAT(dst []byte, size int64) []byte {
	dst = append(dst, "BDAT "...)
	dst = strconv.AppendInt(dst, size, 10)
	return append(dst, " LAST\r\n"...)
}

// end reads the reply that decides.
func (c *Conn) end(ctx context.Context, res *Result) *Error {
	r, err := c.readReply(ctx, EndOfData)
	if err == nil && r.Code/100 == 3 {
		err = c.unexpected(ctx, EndOfData, r)
	}
	if err != nil {
		err.AfterData = true
		return err
	}
	telemetry.FailPoint("relay.after-reply")
	c.dirty = false
	if res.Accepted() > 0 {
		res.End = r
	}
	return nil
}
