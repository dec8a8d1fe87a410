package smtpwire

import "bytes"

// Encoder makes content ready for DATA: dots at the start of a line are
// doubled (RFC 5321 section 4.5.2) and the end is put. A bare CR or LF becomes
// CRLF, so that whatever went in, every receiver sees one message. The zero
// value is ready; one Encoder serves one message.
type Encoder struct {
	inLine bool // octets came since the last newline
	cr     bool // the last octet was a CR, which is not yet written
}

// Append appends the encoding of p to dst. p may be any part of the content.
func (e *Encoder) Append(dst, p []byte) []byte {
	if e.cr && len(p) > 0 {
		e.cr = false
		dst = e.newline(dst)
		if p[0] == '\n' {
			p = p[1:]
		}
	}
	for len(p) > 0 {
		if !e.inLine && p[0] == '.' {
			dst = append(dst, '.')
		}
		lf := bytes.IndexByte(p, '\n')
		line := p
		if lf >= 0 {
			line = p[:lf]
		}
		cr := bytes.IndexByte(line, '\r')
		switch {
		case cr < 0 && lf < 0: // no newline yet
			e.inLine = true
			return append(dst, p...)
		case cr < 0, cr == lf-1: // the usual line, or a bare LF
			if cr >= 0 {
				line = line[:cr]
			}
			dst = e.newline(append(dst, line...))
			p = p[lf+1:]
		case cr == len(p)-1: // its LF may come with the next part
			dst = append(dst, line[:cr]...)
			e.inLine = e.inLine || cr > 0
			e.cr = true
			return dst
		default: // a bare CR
			dst = e.newline(append(dst, line[:cr]...))
			p = p[cr+1:]
		}
	}
	return dst
}

// End appends what ends the content: CRLF if the last line lacks it, a dot,
// CRLF.
func (e *Encoder) End(dst []byte) []byte {
	if e.cr || e.inLine {
		dst = e.newline(dst)
	}
	*e = Encoder{}
	return append(dst, ".\r\n"...)
}

func (e *Encoder) newline(dst []byte) []byte {
	e.inLine = false
	e.cr = false
	return append(dst, crlf...)
}
