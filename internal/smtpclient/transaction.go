package smtpclient

import (
	"io"

	"github.com/postern-mail/postern/internal/smtp"
)

// Transaction is one message for one or more recipients.
type Transaction struct {
	Reverse smtp.Path
	// Params are those that the message arrived with. RET and ENVID go on to a
	// peer that offers DSN; SMTPUTF8 to one that offers it. SIZE and BODY are
	// made from Size and EightBit, AUTH is never passed on.
	Params smtp.MailParams
	Rcpts  []Recipient // at least one, at most 1,000; 100 is what every peer must take
	// Content is read with ReadAt from 0 to Size: complete lines that end with
	// CRLF. It is not kept.
	Content io.ReaderAt
	Size    int64
	// EightBit: the content has octets above 127.
	EightBit bool
	// UTF8: a header field has octets above 127. It asks for SMTPUTF8 (RFC 6532)
	// only where Params.SMTPUTF8 says that the client before us knew: without
	// it such a field is old mail in whatever charset, which has always gone as
	// 8-bit content, and which a refusal would lose.
	UTF8 bool
}

// Recipient is one forward-path with its DSN parameters, which go on to a peer
// that offers DSN.
type Recipient struct {
	Path   smtp.Path
	Params smtp.RcptParams
}

// Result holds what the peer said. A zero Reply was not said, or not asked
// for any more.
type Result struct {
	Mail  smtp.Reply
	Rcpts []smtp.Reply // one for each of Transaction.Rcpts
	// Data is the reply to DATA: 354, or the refusal.
	Data smtp.Reply
	// End is the reply to end-of-data or to the last BDAT. It is zero when no
	// recipient was accepted, whatever the peer said.
	End smtp.Reply
	// DSN: the peer offers DSN, and the DSN parameters were passed on.
	DSN bool
}

// Accepted returns how many recipients the peer took at RCPT.
func (r *Result) Accepted() int {
	if !r.Mail.Positive() {
		return 0
	}
	n := 0
	for i := range r.Rcpts {
		if r.Rcpts[i].Positive() {
			n++
		}
	}
	return n
}

// NeedsSMTPUTF8 reports whether p can't be said to a peer without SMTPUTF8: a
// domain can be put as A-labels, a local-part can't.
func NeedsSMTPUTF8(p smtp.Path) bool {
	_, ok := asciiPath(p)
	return !ok
}

// asciiPath returns p in ASCII, if it can be put so.
func asciiPath(p smtp.Path) (smtp.Path, bool) {
	if p.ASCII() {
		return p, true
	}
	domain, err := smtp.DomainKey(p.Domain)
	if err != nil {
		return p, false
	}
	p.Domain = domain
	return p, p.ASCII()
}

// fits refuses, without a word to the peer, what this peer can't take.
func (c *Conn) fits(t *Transaction) *Error {
	x := &c.ext
	switch {
	case x.MaxSize > 0 && t.Size > x.MaxSize:
		return &Error{Phase: Mail, Kind: TooLarge}
	case !x.SMTPUTF8 && (t.UTF8 && t.Params.SMTPUTF8 || NeedsSMTPUTF8(t.Reverse)):
		return &Error{Phase: Mail, Kind: NeedSMTPUTF8} // before 8BITMIME, which alone would not do
	case t.EightBit && !x.EightBitMIME:
		return &Error{Phase: Mail, Kind: Need8BitMIME}
	case x.SMTPUTF8:
		return nil
	}
	for i := range t.Rcpts {
		if NeedsSMTPUTF8(t.Rcpts[i].Path) {
			return &Error{Phase: Rcpt, Kind: NeedSMTPUTF8}
		}
	}
	return nil
}

// wantsUTF8 reports whether MAIL says SMTPUTF8: where a path needs it, and
// where the client before us said it, who knows of the header and may know of
// a part deep inside.
func (c *Conn) wantsUTF8(t *Transaction) bool {
	if !c.ext.SMTPUTF8 {
		return false
	}
	if t.Params.SMTPUTF8 || !t.Reverse.ASCII() {
		return true
	}
	for i := range t.Rcpts {
		if !t.Rcpts[i].Path.ASCII() {
			return true
		}
	}
	return false
}

// appendMail appends the MAIL command with what this peer knows.
func (c *Conn) appendMail(dst []byte, t *Transaction, utf8 bool) []byte {
	p := smtp.MailParams{SMTPUTF8: utf8}
	if c.ext.Size {
		p.Size = t.Size
	}
	if t.EightBit {
		p.Body = smtp.Body8BitMIME
	}
	if c.ext.DSN {
		p.Ret, p.EnvID = t.Params.Ret, t.Params.EnvID
	}
	reverse := t.Reverse
	if !utf8 {
		reverse, _ = asciiPath(reverse)
	}
	return append(smtp.AppendMail(dst, reverse, p), "\r\n"...)
}

// appendRcpt appends one RCPT command. RFC 3461 section 5.2.1: the parameters
// are passed on as they came; section 5.2.2: not to a peer without DSN. That
// section lets a client (MAY) send to recipients with NOTIFY=NEVER in a
// transaction of their own with a null reverse-path, so that such a peer does
// not report. This one does not: peers treat a null reverse-path as a bounce,
// look the sender up by it (SPF, lists), and refuse it to many addresses.
func (c *Conn) appendRcpt(dst []byte, r *Recipient, utf8 bool) []byte {
	var p smtp.RcptParams
	if c.ext.DSN {
		p = r.Params
	}
	path := r.Path
	if !utf8 {
		path, _ = asciiPath(path)
	}
	return append(smtp.AppendRcpt(dst, path, p, utf8), "\r\n"...)
}
