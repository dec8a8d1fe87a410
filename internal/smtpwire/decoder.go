package smtpwire

import (
	"bytes"
	"errors"
	"io"
)

const crlf = "\r\n"

// Decoder gives out content as it lies in a message: lines that end with CRLF,
// dots of transparency removed. Use BeginData, then Next until io.EOF; or
// BeginChunks, then for each BDAT command Chunk and Next until io.EOF, and
// Finish after the last one. The state table is in the package comment.
type Decoder struct {
	rd      *Reader
	maxLine int   // octets of a line of content with its CRLF
	chunked bool  // BDAT: no dots, the length says where it ends
	left    int64 // BDAT: octets of the current chunk that are not consumed
	start   bool  // what comes next follows a CRLF or begins the content
	any     bool  // something was given out
	cr      bool  // BDAT: a CR ended a chunk and waits for its LF
	newline bool  // a CRLF is due that stands for a bare CR or LF
	ended   bool
	line    int // octets of the current line that were given out
	err     error
}

// BeginData starts the content of a DATA command on r. maxLine is in octets
// with the CRLF.
func (d *Decoder) BeginData(r *Reader, maxLine int) {
	r.beginContent()
	*d = Decoder{rd: r, maxLine: maxLine, start: true}
}

// BeginChunks starts the content of the BDAT commands of one transaction.
func (d *Decoder) BeginChunks(r *Reader, maxLine int) {
	*d = Decoder{rd: r, maxLine: maxLine, chunked: true, start: true}
}

// Chunk starts a chunk of n octets (RFC 3030 section 2). The chunk before it
// must have been read to io.EOF.
func (d *Decoder) Chunk(n int64) {
	d.rd.beginContent()
	d.left = n
}

// Next returns the next octets of content, at least one, valid until the next
// call. It reads from the source only when nothing is buffered that can be
// decoded. io.EOF means the end of the content, or of the chunk; any other
// error is final.
func (d *Decoder) Next() ([]byte, error) {
	for d.err == nil {
		if d.newline {
			d.newline, d.line, d.any = false, 0, true
			return []byte(crlf), nil
		}
		if d.ended || d.chunked && d.left == 0 {
			return nil, io.EOF
		}
		out, err := d.scan()
		if err == nil && bytes.IndexByte(out, 0) >= 0 {
			err = ErrNUL
		}
		if err != nil {
			d.err = err
			break
		}
		if len(out) > 0 {
			d.any = true
			return out, nil
		}
		if d.ended || d.newline || d.chunked && d.left == 0 {
			continue
		}
		d.err = d.fill()
	}
	return nil, d.err
}

// Finish ends the content after the last chunk. It returns the CRLF that the
// last line lacks, if it does: what is stored are lines, and DATA could not
// send it otherwise. A CR that still waits for its LF is a bare one.
func (d *Decoder) Finish() ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	d.ended = true
	if d.cr && d.rd.newlines == Reject {
		return nil, ErrBareCR
	}
	if d.cr || d.any && !d.start {
		return []byte(crlf), nil
	}
	return nil, nil
}

func (d *Decoder) fill() error {
	err := d.rd.fill()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// scan decodes what is buffered up to the first thing that needs a decision
// elsewhere, and returns it compacted in place.
func (d *Decoder) scan() ([]byte, error) {
	data := d.rd.buf[d.rd.r:d.rd.w]
	if d.chunked && int64(len(data)) > d.left {
		data = data[:d.left]
	}
	if len(data) == 0 {
		return nil, nil
	}
	if d.cr {
		return nil, d.resolveCR(data)
	}
	s := scanner{d: d, in: data}
	err := s.run()
	d.consume(s.pos)
	return data[:s.out], err
}

func (d *Decoder) consume(n int) {
	d.rd.r += n
	if d.chunked {
		d.left -= int64(n)
	}
}

// resolveCR looks at the octet after a CR that ended a chunk.
func (d *Decoder) resolveCR(data []byte) error {
	d.cr = false
	if data[0] == '\n' {
		d.consume(1)
		d.newline, d.start = true, true
		return nil
	}
	return d.bare(ErrBareCR)
}

// bare handles a newline that is no CRLF.
func (d *Decoder) bare(err error) error {
	switch {
	case d.rd.newlines == Normalise:
		d.newline, d.start = true, d.chunked // in chunks a dot is only a dot
		return nil
	case d.rd.newlines == Lenient && errors.Is(err, ErrBareLF):
		d.newline, d.start = true, true
		return nil
	}
	return err
}

// scanner walks over one buffer of content. in[:out] is what it gives out,
// in[pos:] what it has not consumed; out <= keep <= pos, and in[keep:pos] is
// given out too, once it was moved down.
type scanner struct {
	d              *Decoder
	in             []byte
	out, keep, pos int
}

// run goes line by line: one IndexByte for the LF, one for a CR before it.
func (s *scanner) run() error {
	defer s.flush()
	for s.pos < len(s.in) {
		if s.d.start && !s.d.chunked && s.in[s.pos] == '.' {
			if wait := s.dot(); wait || s.d.ended {
				return nil
			}
		}
		rest := s.in[s.pos:]
		lf := bytes.IndexByte(rest, '\n')
		if lf < 0 {
			return s.partial(rest)
		}
		if cr := bytes.IndexByte(rest[:lf], '\r'); cr != lf-1 || cr < 0 {
			return s.bareNewline(lf, cr)
		}
		s.d.line += lf + 1
		if s.d.line > s.d.maxLine {
			return ErrLineTooLong
		}
		s.pos += lf + 1
		s.d.line, s.d.start = 0, true
	}
	return nil
}

// dot handles a dot at the start of a line of DATA. It reports whether more
// octets are needed to tell what it is.
func (s *scanner) dot() (wait bool) {
	rest := s.in[s.pos:]
	lenient := s.d.rd.newlines == Lenient
	switch {
	case len(rest) < 2, rest[1] == '\r' && len(rest) < 3:
		return true
	case rest[1] == '\r' && rest[2] == '\n':
		s.end(3)
	case lenient && rest[1] == '\n':
		s.end(2)
	default: // RFC 5321 section 4.5.2: the first of the line's dots goes
		s.flush()
		s.pos++
		s.keep = s.pos
		s.d.start = false
	}
	return false
}

// end consumes the end of content, n octets.
func (s *scanner) end(n int) {
	s.flush()
	s.pos += n
	s.keep = s.pos
	s.d.ended = true
}

// partial takes a line whose LF has not come. A CR as the last octet waits
// for the next one.
func (s *scanner) partial(rest []byte) error {
	n := len(rest)
	if cr := bytes.IndexByte(rest, '\r'); cr >= 0 && cr < n-1 {
		return s.bareNewline(n, cr)
	} else if cr >= 0 {
		n--
	}
	s.take(n)
	if s.d.line > s.d.maxLine {
		return ErrLineTooLong
	}
	if n < len(rest) && s.d.chunked && s.pos+1 == len(s.in) && s.d.left == int64(len(s.in)) {
		// The CR ends the chunk; its LF may begin the next one.
		s.flush()
		s.pos++
		s.keep = s.pos
		s.d.cr = true
	}
	return nil
}

// take marks n octets of the current line as given out.
func (s *scanner) take(n int) {
	s.pos += n
	s.d.line += n
	if n > 0 {
		s.d.start = false
	}
}

// bareNewline handles the first newline of the line at pos that is no CRLF: a
// CR at cr, or the LF at lf when cr is negative.
func (s *scanner) bareNewline(lf, cr int) error {
	at, err := lf, ErrBareLF
	if cr >= 0 {
		at, err = cr, ErrBareCR
	}
	s.take(at)
	if s.d.line > s.d.maxLine {
		return ErrLineTooLong
	}
	s.flush()
	s.pos++ // the newline itself, for which a CRLF is given out
	s.keep = s.pos
	return s.d.bare(err)
}

// flush moves what was kept down to what is given out.
func (s *scanner) flush() {
	if s.out == s.keep {
		s.out = s.pos
	} else {
		s.out += copy(s.in[s.out:], s.in[s.keep:s.pos])
	}
	s.keep = s.pos
}
