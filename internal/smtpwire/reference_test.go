package smtpwire

import "bytes"

// outcome is what decoding came to.
type outcome struct {
	content []byte
	rest    int // octets after the end of content
	err     error
}

// referenceData decodes content of DATA as slowly and simply as it can be
// done: octet by octet, looking at the whole input, with the state table of
// the package comment and nothing else. It is the oracle of the fuzz targets.
// unended is returned as err when the input ends before the content.
func referenceData(in []byte, n Newlines, maxLine int, unended error) outcome {
	var out []byte
	start, line := true, 0
	for i := 0; i < len(in); {
		c := in[i]
		switch {
		case start && c == '.' && bytes.HasPrefix(in[i:], []byte(".\r\n")):
			return outcome{content: out, rest: len(in) - i - 3}
		case start && c == '.' && n == Lenient && bytes.HasPrefix(in[i:], []byte(".\n")):
			return outcome{content: out, rest: len(in) - i - 2}
		case start && c == '.' && (i+1 == len(in) || i+2 == len(in) && in[i+1] == '\r'):
			return outcome{content: out, err: unended}
		case start && c == '.':
			start = false
			i++
		case c == '\r' && i+1 == len(in):
			return outcome{content: out, err: unended}
		case c == '\r' && in[i+1] == '\n':
			if line += 2; line > maxLine {
				return outcome{content: out, err: ErrLineTooLong}
			}
			out = append(out, '\r', '\n')
			start, line = true, 0
			i += 2
		case c == '\r' && n != Normalise:
			return outcome{content: out, err: ErrBareCR}
		case c == '\n' && n == Reject:
			return outcome{content: out, err: ErrBareLF}
		case c == '\r' || c == '\n':
			out = append(out, '\r', '\n')
			start, line = n == Lenient, 0
			i++
		case c == 0:
			return outcome{content: out, err: ErrNUL}
		default:
			if line++; line > maxLine {
				return outcome{content: out, err: ErrLineTooLong}
			}
			out = append(out, c)
			start = false
			i++
		}
	}
	return outcome{content: out, err: unended}
}

// referenceChunks decodes the content of BDAT chunks put together.
func referenceChunks(in []byte, n Newlines, maxLine int) outcome {
	var out []byte
	line := 0
	for i := 0; i < len(in); i++ {
		c := in[i]
		crlfHere := c == '\r' && i+1 < len(in) && in[i+1] == '\n'
		switch {
		case crlfHere:
			if line += 2; line > maxLine {
				return outcome{content: out, err: ErrLineTooLong}
			}
			out, line = append(out, '\r', '\n'), 0
			i++
		case c == '\r' && n == Reject, c == '\r' && n == Lenient && i+1 < len(in):
			return outcome{content: out, err: ErrBareCR}
		case c == '\n' && n == Reject:
			return outcome{content: out, err: ErrBareLF}
		case c == '\r' || c == '\n':
			out, line = append(out, '\r', '\n'), 0
		case c == 0:
			return outcome{content: out, err: ErrNUL}
		default:
			if line++; line > maxLine {
				return outcome{content: out, err: ErrLineTooLong}
			}
			out = append(out, c)
		}
	}
	if len(out) > 0 && !bytes.HasSuffix(out, []byte("\r\n")) {
		out = append(out, '\r', '\n')
	}
	return outcome{content: out}
}
