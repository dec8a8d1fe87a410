package smtpserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/postern-mail/postern/internal/smtp"
)

// data does DATA (RFC 5321 section 4.1.1.4).
func (s *session) data(ctx context.Context, _ []byte) {
	if r := s.begin(ctx); !r.IsZero() {
		s.refuseData(r)
		return
	}
	s.sayWords(3, s.srv.words.data)
	s.decoder.BeginData(&s.rd, s.maxLine())
	if s.take() {
		s.commit(ctx)
	}
}

// refuseData answers a DATA that is refused. RFC 2920 section 3.1 makes DATA
// the last command of a group, so what was sent after it is content that did
// not wait for the 354: it must not be read as commands.
func (s *session) refuseData(r smtp.Reply) {
	if s.rd.Buffered() > 0 {
		s.cutOff(cutContent, r)
		return
	}
	s.say(r)
}

// begin asks the Session for a Content.
func (s *session) begin(ctx context.Context) smtp.Reply {
	c, r := s.handler.Content(ctx)
	switch {
	case !r.IsZero():
		if c != nil {
			c.Abort()
		}
		s.reset()
		return r
	case c == nil:
		s.reset()
		return smtp.LocalError()
	}
	s.content = c
	s.octets = 0
	return smtp.Reply{}
}

func (s *session) maxLine() int {
	if n := s.srv.cfg.MaxContentLine; n > 0 {
		return n
	}
	return int(^uint(0) >> 1)
}

// take passes content on up to its end, or the chunk's. When it returns false
// the session is ending: what follows may be content, so nothing of it is read
// as a command.
func (s *session) take() bool {
	s.enter(phaseContent)
	for {
		p, err := s.decoder.Next()
		switch {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			s.abort()
			s.failed(err)
			return false
		case !s.write(p):
			return false
		}
	}
}

func (s *session) write(p []byte) bool {
	s.octets += int64(len(p))
	r := smtp.TooLarge()
	if !s.tooLarge(0) {
		_, err := s.content.Write(p)
		if err == nil {
			return true
		}
		r = replyOf(err)
	}
	s.abort()
	s.cutOff(cutContent, r)
	return false
}

// tooLarge reports whether n more octets are too many.
func (s *session) tooLarge(n int64) bool {
	limit := s.srv.cfg.MaxContentOctets
	return limit > 0 && (n > limit || s.octets > limit-n)
}

// commit hands the content over at its end and says what became of it.
func (s *session) commit(ctx context.Context) {
	c := s.content
	s.content = nil
	r := c.Commit(context.WithoutCancel(ctx))
	t := s.srv.tally
	t.octets.Add(float64(s.octets))
	if s.answer(r, s.srv.words.ok) {
		t.committed.Inc()
		s.errors, s.verbs, s.refused = 0, 0, 0
		s.conn.Messages++
	} else {
		t.rejected.Inc()
	}
	s.reset()
}

// bdat does BDAT (RFC 3030 section 2). Its octets are on their way whatever
// we think of the command, so a refused chunk is read and dropped.
func (s *session) bdat(ctx context.Context, args []byte) {
	size, last, ok := parseChunk(args)
	switch {
	case !ok:
		s.abort()
		s.cutOff(cutChunkSize, smtp.BadChunkSize())
	case s.tooLarge(size):
		s.abort()
		s.cutOff(cutContent, smtp.TooLarge())
	case s.state&(rcpted|chunked) == 0:
		s.drop(size, s.chunkRefusal())
	default:
		s.chunk(ctx, size, last)
	}
}

// chunkRefusal is the reply to BDAT outside a transaction.
func (s *session) chunkRefusal() smtp.Reply {
	switch s.state {
	case fresh:
		return smtp.HelloFirst()
	case mailed:
		return s.noRecipients()
	}
	return smtp.MailFirst()
}

// chunk takes one chunk of the open transaction.
func (s *session) chunk(ctx context.Context, size int64, last bool) {
	if s.state == rcpted {
		if r := s.begin(ctx); !r.IsZero() {
			s.drop(size, r)
			return
		}
		s.state = chunked
		s.decoder.BeginChunks(&s.rd, s.maxLine())
	}
	s.decoder.Chunk(size)
	if !s.take() {
		return
	}
	if !last {
		s.say(smtp.ChunkOK(strconv.FormatInt(size, 10)))
		return
	}
	end, err := s.decoder.Finish()
	if err != nil {
		s.abort()
		s.failed(err)
		return
	}
	if len(end) == 0 || s.write(end) {
		s.commit(ctx)
	}
}

// drop reads a refused chunk and throws it away, then says why.
func (s *session) drop(size int64, r smtp.Reply) {
	s.idle = false
	s.wholeBy = time.Time{}
	s.enter(phaseContent)
	for size > 0 {
		left, err := s.rd.Skip(size)
		if err != nil {
			s.failed(err)
			return
		}
		size = left
	}
	s.say(r)
}

// parseChunk parses "size [LAST]" of RFC 3030 section 2. Up to 18 digits fit
// in an int64; no message is larger.
func parseChunk(args []byte) (size int64, last, ok bool) {
	digits, word, two := bytes.Cut(args, []byte(" "))
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		size = size*10 + int64(c-'0')
	}
	if two {
		last = equalFold(bytes.TrimLeft(word, " "), "LAST")
	}
	return size, last, last == two
}
