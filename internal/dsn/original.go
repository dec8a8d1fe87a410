package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/postern-mail/postern/internal/smtp"
)

// original makes the third part: the message, or its header.
func (b *builder) original() (part, error) {
	if b.Original == nil || b.Size <= 0 {
		return part{}, nil
	}
	most := b.FullMax
	if most <= 0 {
		most = FullMax
	}
	if b.Ret == smtp.RetFull && b.Size <= most && b.has(Failed) { // RFC 3461 section 4.3: RET is about failures
		whole, err := b.read(b.Size)
		if err != nil {
			return part{}, err
		}
		if p, ok := b.full(whole); ok {
			return p, nil
		}
	}
	head, err := b.read(min(b.Size, HeaderMax))
	if err != nil {
		return part{}, err
	}
	return b.header(head), nil
}

func (b *builder) read(n int64) ([]byte, error) {
	buf := make([]byte, n)
	got, err := b.Original.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read original: %w", err)
	}
	return buf[:got], nil
}

// full returns the whole message as a part; false when it can't be one: a line
// is too long, or its header is UTF-8 and the report must not be.
func (b *builder) full(whole []byte) (part, bool) {
	p := part{kind: "message/rfc822", description: "Your message", encoding: "7bit", body: whole}
	if !fits(whole) {
		return p, false
	}
	if isASCII(whole) {
		return ended(p), true
	}
	p.encoding = "8bit"
	if head := cutHeader(whole); !isASCII(head) {
		if !b.utf8 || !utf8.Valid(head) {
			return p, false
		}
		p.kind = "message/global"
	}
	return ended(p), true
}

// header returns the message's header as a part (RFC 6522 section 4, RFC 6533
// section 6).
func (b *builder) header(head []byte) part {
	head = tidy(cutHeader(head))
	if !isASCII(head) && b.utf8 && utf8.Valid(head) {
		return part{kind: "message/global-headers", description: "Header of your message", encoding: "8bit", body: head}
	}
	return textPart("text/rfc822-headers", "", "Header of your message", head)
}

// cutHeader returns the octets before the empty line, the last line's CRLF
// included; where there is no empty line, all whole lines.
func cutHeader(content []byte) []byte {
	if bytes.HasPrefix(content, []byte("\r\n")) {
		return nil
	}
	if i := bytes.Index(content, []byte("\r\n\r\n")); i >= 0 {
		return content[:i+2]
	}
	return content[:bytes.LastIndexByte(content, '\n')+1]
}

// tidy makes a header fit for a part: line ends are CRLF, controls are "?",
// lines above 998 octets are broken with a space.
func tidy(head []byte) []byte {
	out := make([]byte, 0, len(head)+64)
	line := 0
	for i := 0; i < len(head); i++ {
		c := head[i]
		switch {
		case c == '\r' && i+1 < len(head) && head[i+1] == '\n':
			continue
		case c == '\n':
			out = append(out, '\r', '\n')
			line = 0
			continue
		case c < ' ' && c != '\t', c == 0x7f:
			c = '?'
		}
		if line >= maxLine-utf8.UTFMax && (utf8.RuneStart(c) || line >= maxLine) {
			out = append(out, '\r', '\n', ' ')
			line = 1
		}
		out = append(out, c)
		line++
	}
	return out
}

// fits reports whether content has only lines of at most 998 octets that end
// with CRLF, and no NUL.
func fits(content []byte) bool {
	line := 0
	for i, c := range content {
		switch {
		case c == '\n':
			if i == 0 || content[i-1] != '\r' {
				return false
			}
			line = 0
		case c == '\r':
			if i+1 == len(content) || content[i+1] != '\n' {
				return false
			}
		case c == 0:
			return false
		default:
			line++
			if line > maxLine {
				return false
			}
		}
	}
	return true
}

// ended makes the part's body end with a line end.
func ended(p part) part {
	if !bytes.HasSuffix(p.body, []byte("\r\n")) {
		p.body = append(p.body[:len(p.body):len(p.body)], '\r', '\n')
	}
	return p
}
