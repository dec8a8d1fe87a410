package smtpwire

import (
	"bytes"
	"errors"
	"io"
)

// Errors of framing. After any of them but ErrLineTooLong from ReadLine the
// position in the octet stream is not to be trusted.
var (
	ErrBareLF      = errors.New("LF without CR")
	ErrBareCR      = errors.New("CR without LF")
	ErrNUL         = errors.New("NUL octet in content")
	ErrLineTooLong = errors.New("line too long")
)

// Newlines says what is done with CR without LF and LF without CR.
type Newlines uint8

// The values of Newlines.
const (
	// Reject makes them errors. It is what a server uses by default.
	Reject Newlines = iota
	// Normalise turns them into CRLF inside content, where they never end it,
	// and takes a bare LF as the end of a command or reply line. Departs from
	// RFC 5321 section 2.3.8, for clients that can't be repaired.
	Normalise
	// Lenient takes a bare LF for CRLF everywhere, the end of content too. It
	// is open to smuggling and exists for the control arm of a drill.
	Lenient
)

// maxEmptyReads bounds reads that give neither octets nor an error (chosen).
const maxEmptyReads = 16

// Reader owns the octets that come from a peer. Its methods are called by one
// goroutine at a time.
type Reader struct {
	src      io.Reader
	buffers  *Buffers
	newlines Newlines
	buf      []byte // command[:] or content[:]
	r, w     int    // buf[r:w] is read and not consumed
	command  *[CommandBuffer]byte
	content  *[ContentBuffer]byte
}

// NewReader returns a Reader of src with a command buffer from b.
func NewReader(src io.Reader, b *Buffers, n Newlines) *Reader {
	r := new(Reader)
	r.Open(src, b, n)
	return r
}

// Open readies a Reader that is the zero value or was closed.
func (r *Reader) Open(src io.Reader, b *Buffers, n Newlines) {
	*r = Reader{src: src, buffers: b, newlines: n, command: b.takeCommand()}
	r.buf = r.command[:]
}

// Close gives the buffers back. Lines and chunks given out before are invalid
// from then on. A closed Reader may be opened again; closing twice is harmless.
func (r *Reader) Close() {
	if r.command == nil {
		return
	}
	r.buffers.command.Put(r.command)
	if r.content != nil {
		r.buffers.GiveContent(r.content)
	}
	*r = Reader{}
}

// Source changes where octets come from (after STARTTLS). Octets that were
// read ahead stay; call Discard first.
func (r *Reader) Source(src io.Reader) { r.src = src }

// Buffered returns how many octets were read and not consumed.
func (r *Reader) Buffered() int { return r.w - r.r }

// Discard drops what was read ahead and returns how many octets that were.
func (r *Reader) Discard() int {
	n := r.w - r.r
	r.r, r.w = 0, 0
	return n
}

// HasLine reports whether ReadLine has what it needs without reading.
func (r *Reader) HasLine() bool {
	return r.w > r.r && bytes.IndexByte(r.buf[r.r:r.w], '\n') >= 0
}

// ReadLine returns the next line without its end. limit is in octets with the
// CRLF and at most CommandBuffer. The line is valid until the next call of any
// method. A line that is longer gives ErrLineTooLong; none of it is consumed
// then. io.EOF means that the peer closed between lines.
func (r *Reader) ReadLine(limit int) ([]byte, error) {
	limit = min(limit, CommandBuffer)
	seen := 0
	for {
		window := r.buf[r.r+seen : r.w]
		if i := bytes.IndexByte(window, '\n'); i >= 0 {
			return r.takeLine(seen+i, limit)
		}
		seen += len(window)
		if seen >= limit {
			return nil, ErrLineTooLong
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) && seen > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// takeLine consumes the line whose LF is lf octets from the read position.
func (r *Reader) takeLine(lf, limit int) ([]byte, error) {
	if lf+1 > limit {
		return nil, ErrLineTooLong
	}
	line := r.buf[r.r : r.r+lf]
	switch cr := bytes.IndexByte(line, '\r'); {
	case cr >= 0 && cr == lf-1:
		line = line[:cr]
	case cr >= 0:
		return nil, ErrBareCR
	case r.newlines == Reject:
		return nil, ErrBareLF
	}
	r.r += lf + 1
	return line, nil
}

// fill reads once and adds at least one octet to the buffer, which must have
// room.
func (r *Reader) fill() error {
	if r.r == r.w {
		r.r, r.w = 0, 0
	} else if r.r > 0 && len(r.buf)-r.w < len(r.buf)/8 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[r.w:])
		if n > 0 {
			r.w += n
			return nil // an error that came with octets comes again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// beginContent changes to the content buffer.
func (r *Reader) beginContent() {
	if r.content != nil {
		return
	}
	r.content = r.buffers.TakeContent()
	r.w = copy(r.content[:], r.buf[r.r:r.w])
	r.r = 0
	r.buf = r.content[:]
}

// EndContent changes back to the command buffer once what was read ahead fits
// there. Call it before waiting for a command.
func (r *Reader) EndContent() {
	if r.content == nil || r.w-r.r >= CommandBuffer {
		return
	}
	r.w = copy(r.command[:], r.buf[r.r:r.w])
	r.r = 0
	r.buf = r.command[:]
	r.buffers.GiveContent(r.content)
	r.content = nil
}

// Skip consumes up to n octets as they come, without looking at them, and
// returns how many of the n are left. It reads at most once.
func (r *Reader) Skip(n int64) (left int64, err error) {
	if n > CommandBuffer {
		r.beginContent()
	}
	if r.r == r.w {
		if err := r.fill(); err != nil {
			return n, err
		}
	}
	k := int(min(n, int64(r.w-r.r)))
	r.r += k
	return n - int64(k), nil
}

// Peek returns the next n octets, at most CommandBuffer, without consuming
// them. It reads until they are there. They are valid until the next call.
func (r *Reader) Peek(n int) ([]byte, error) {
	n = min(n, CommandBuffer)
	for r.w-r.r < n {
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
	return r.buf[r.r : r.r+n], nil
}

// Consume drops n octets that were peeked at.
func (r *Reader) Consume(n int) { r.r += min(n, r.w-r.r) }
