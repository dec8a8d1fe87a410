package dsn

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/smtp"
)

// status makes the part for programs (RFC 3464 section 2).
func (b *builder) status() part {
	p := part{kind: "message/delivery-status", description: "Delivery report", encoding: "7bit"}
	var out bytes.Buffer
	field(&out, "Reporting-MTA", "dns; "+b.Hostname)
	if b.EnvID != "" {
		field(&out, "Original-Envelope-Id", safe(b.EnvID, false))
	}
	if !b.Arrival.IsZero() {
		field(&out, "Arrival-Date", date(b.Arrival))
	}
	if b.About != "" {
		field(&out, "X-Postern-ID", b.About)
	}
	for i := range b.Recipients {
		out.WriteString("\r\n")
		b.recipient(&out, &b.Recipients[i])
	}
	p.body = out.Bytes()
	if !isASCII(p.body) { // RFC 6533 section 4; only when b.utf8 allowed it
		p.kind, p.encoding = "message/global-delivery-status", "8bit"
	}
	return p
}

func (b *builder) recipient(out *bytes.Buffer, r *Recipient) {
	if r.Original != "" {
		field(out, "Original-Recipient", b.typed(r.Original))
	}
	kind := "rfc822;"
	if !r.Final.ASCII() {
		kind = "utf-8;"
	}
	field(out, "Final-Recipient", b.typed(kind+r.Final.String()))
	field(out, "Action", r.Action.String())
	field(out, "Status", Status(r).String())
	if r.Remote != "" {
		field(out, "Remote-MTA", "dns; "+safe(r.Remote, false))
	}
	if !r.Reply.IsZero() {
		b.diagnostic(out, r.Reply)
	}
	if !r.LastAttempt.IsZero() {
		field(out, "Last-Attempt-Date", date(r.LastAttempt))
	}
	if r.Action == Delayed && !r.RetryUntil.IsZero() {
		field(out, "Will-Retry-Until", date(r.RetryUntil))
	}
}

// typed makes "type;address" fit for the part: UTF-8 as it is where the part
// may hold it, else the 7-bit form utf-8-addr-xtext of RFC 6533 section 3.
func (b *builder) typed(s string) string {
	kind, address, found := strings.Cut(s, ";")
	if !found {
		kind, address = "rfc822", s
	}
	if isASCII([]byte(s)) || b.utf8 && utf8.ValidString(s) {
		return kind + ";" + safe(strings.TrimSpace(address), b.utf8)
	}
	return "utf-8;" + embedded(address)
}

// embedded writes s as utf-8-addr-xtext: what is not printable ASCII, "+",
// "=" and "\" as "\x{HEX}".
func embedded(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > ' ' && r <= '~' && r != '+' && r != '=' && r != '\\' {
			b.WriteByte(byte(r))
			continue
		}
		hex := strings.ToUpper(strconv.FormatInt(int64(r), 16))
		b.WriteString(`\x{`)
		if len(hex) < 2 {
			b.WriteByte('0')
		}
		b.WriteString(hex + "}")
	}
	return b.String()
}

// diagnostic writes the peer's reply, line for line as it was said.
func (b *builder) diagnostic(out *bytes.Buffer, reply smtp.Reply) {
	out.WriteString("Diagnostic-Code: smtp;")
	lines := replyLines(reply)
	left := WordsMax
	for _, line := range lines {
		line = safe(line, b.utf8)
		if len(line) > left {
			line = line[:cutAt(line, left)]
		}
		left -= len(line)
		for len(line) > maxLine-32 {
			cut := cutAt(line, maxLine-32)
			out.WriteString(" " + line[:cut] + "\r\n")
			line = line[cut:]
		}
		out.WriteString(" " + strings.TrimRight(line, " ") + "\r\n")
		if left <= 0 {
			return
		}
	}
}

// replyLines are the lines of a reply as they were on the wire.
func replyLines(r smtp.Reply) []string {
	prefix, last := strconv.Itoa(r.Code), max(len(r.Text), 1)-1
	lines := make([]string, 0, last+1)
	for i := 0; i <= last; i++ {
		line := prefix
		if i < last {
			line += "-"
		} else {
			line += " "
		}
		if !r.Enhanced.IsZero() {
			line += r.Enhanced.String() + " "
		}
		if i < len(r.Text) {
			line += r.Text[i]
		}
		lines = append(lines, line)
	}
	return lines
}

// Status returns the enhanced code that the report gives for r: the peer's own
// when it fits the action, else that of the cause, else x.0.0 (RFC 3463).
func Status(r *Recipient) smtp.EnhancedCode {
	switch r.Action {
	case Relayed, Delivered:
		if r.Reply.Enhanced.Class == 2 {
			return r.Reply.Enhanced
		}
		return smtp.EnhancedCode{Class: 2}
	}
	if r.Cause == cause.Expired { // RFC 3463 section 3.5: X.4.7 delivery time expired
		return smtp.EnhancedCode{Class: 4, Subject: 4, Detail: 7}
	}
	class := uint16(5)
	if r.Action == Delayed {
		class = 4
	}
	if r.Reply.Enhanced.Class == class {
		return r.Reply.Enhanced
	}
	code := explain(r.Cause).status
	if r.Reply.Code == 0 || code.Subject != 0 {
		code.Class = class
		return code
	}
	return smtp.EnhancedCode{Class: class}
}
