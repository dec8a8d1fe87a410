package edge

import (
	"bytes"
	"encoding/binary"
)

// scan looks at content once, as it streams by, for the three facts that the
// mail path needs before a MIME reader exists: how many Received fields the
// header has, whether any octet is above 127, and whether a header field has
// one. The zero value is ready. It keeps no content: its state is a few words
// and survives any cut of the stream.
type scan struct {
	hops     int
	eightBit bool
	utf8     bool

	inBody  bool
	midLine bool // a header line has begun
	name    nameState
	matched uint8 // octets of "received" seen while name is nameMatching
	onlyCR  bool  // the line so far is a lone CR
}

type nameState uint8

const (
	nameMatching nameState = iota // comparing with "received"
	nameColon                     // "received" was read: only WSP may follow before ":"
	nameDone                      // the rest of the line does not matter
)

const receivedName = "received"

// write takes the next octets of content. Lines end in CRLF already; the LF
// alone is looked for.
func (s *scan) write(p []byte) {
	for !s.inBody && len(p) > 0 {
		p = s.headerLine(p)
	}
	if !s.eightBit && len(p) > 0 {
		s.eightBit = hasEightBit(p)
	}
}

// headerLine takes octets up to and including the next LF, or all, and
// returns the rest.
func (s *scan) headerLine(p []byte) []byte {
	line, rest := p, p[len(p):]
	ended := false
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		line, rest, ended = p[:i], p[i+1:], true
	}
	if !s.utf8 && hasEightBit(line) {
		s.utf8, s.eightBit = true, true
	}
	s.fieldName(line)
	if !ended {
		return rest
	}
	// RFC 5321 section 2.3.1, RFC 5322 section 2.1: an empty line ends the header.
	s.inBody = !s.midLine || s.onlyCR
	s.midLine, s.onlyCR, s.name, s.matched = false, false, nameMatching, 0
	return rest
}

// fieldName moves the comparison with "received:" on by the octets of line.
func (s *scan) fieldName(line []byte) {
	if len(line) == 0 {
		return
	}
	s.onlyCR = !s.midLine && len(line) == 1 && line[0] == '\r'
	s.midLine = true
	for _, c := range line {
		switch s.name {
		case nameMatching:
			if c|0x20 != receivedName[s.matched] {
				s.name = nameDone
				return
			}
			s.matched++
			if int(s.matched) == len(receivedName) {
				s.name = nameColon
			}
		case nameColon:
			// RFC 5322 section 4.5.8: obsolete syntax allows WSP before the colon.
			if c == ':' {
				s.hops++
			}
			if c != ' ' && c != '\t' {
				s.name = nameDone
				return
			}
		case nameDone:
			return
		}
	}
}

// hasEightBit reports whether p has an octet above 127, eight at a time.
func hasEightBit(p []byte) bool {
	const high = 0x8080808080808080
	for len(p) >= 32 {
		v := binary.LittleEndian.Uint64(p) | binary.LittleEndian.Uint64(p[8:]) |
			binary.LittleEndian.Uint64(p[16:]) | binary.LittleEndian.Uint64(p[24:])
		if v&high != 0 {
			return true
		}
		p = p[32:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
