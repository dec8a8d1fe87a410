package dsn

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/smtp"
)

// textWidth is where the text for people is wrapped, in characters.
const textWidth = 72

// people makes the part for the person who wrote the message.
func (b *builder) people() part {
	var out bytes.Buffer
	wrap(&out, "", "This is the mail system at "+b.Hostname+".")
	out.WriteString("\r\n")
	sent := "Your message"
	if !b.Arrival.IsZero() {
		sent += ", which we took in on " + when(b.Arrival) + ","
	}
	for _, a := range []Action{Failed, Delayed, Relayed, Delivered} {
		b.tell(&out, sent, a)
	}
	wrap(&out, "", "The attached report says the same in a form for mail programs and administrators."+
		" It helps your postmaster most when it is forwarded whole.")
	if b.About != "" {
		wrap(&out, "", "Our name for your message is "+b.About+".")
	}
	return textPart("text/plain", "charset", "What happened", out.Bytes())
}

// tell lists the recipients with one action.
func (b *builder) tell(out *bytes.Buffer, sent string, a Action) {
	told, more := 0, 0
	for i := range b.Recipients {
		r := &b.Recipients[i]
		if r.Action != a {
			continue
		}
		if told == ToldMax {
			more++
			continue
		}
		if told == 0 {
			wrap(out, "", sent+" "+opening(a))
			out.WriteString("\r\n")
		}
		told++
		b.tellOne(out, r)
	}
	if more > 0 {
		wrap(out, "  ", "... and "+strconv.Itoa(more)+" more, named in the attached report.")
		out.WriteString("\r\n")
	}
}

func opening(a Action) string {
	switch a {
	case Failed:
		return "could not be delivered to:"
	case Delayed:
		return "is still on its way to the addresses below. You need not send it again; we keep trying."
	case Relayed:
		return "was passed on to the mail servers of the addresses below. They will not report when it is delivered:"
	}
	return "was delivered to:"
}

func (b *builder) tellOne(out *bytes.Buffer, r *Recipient) {
	wrap(out, "  ", safe(r.Final.String(), true))
	if original := b.differs(r); original != "" {
		wrap(out, "    ", "(you wrote to "+safe(original, true)+")")
	}
	if r.Action == Failed || r.Action == Delayed {
		e := explain(r.Cause)
		what := e.what
		if r.Cause == cause.Expired && r.Last != cause.None && r.Last != cause.Expired {
			what += " The last trouble was: " + explain(r.Last).what
		}
		wrap(out, "    ", what)
		if !r.Reply.IsZero() {
			reply := safe(words(r.Reply), true)
			wrap(out, "    ", "The other server's words: "+reply[:cutAt(reply, min(len(reply), 500))])
		}
		if r.Action == Failed {
			wrap(out, "    ", e.do)
		} else if !r.RetryUntil.IsZero() {
			wrap(out, "    ", "We try until "+when(r.RetryUntil)+".")
		}
	}
	out.WriteString("\r\n")
}

// words is a reply as running text.
func words(r smtp.Reply) string {
	return strings.Join(append([]string{strconv.Itoa(r.Code), r.Enhanced.String()}, r.Text...), " ")
}

// differs returns the address that the sender wrote, when it is another one.
func (b *builder) differs(r *Recipient) string {
	_, address, found := strings.Cut(r.Original, ";")
	if !found || strings.EqualFold(address, r.Final.String()) {
		return ""
	}
	return address
}

func when(t time.Time) string { return t.UTC().Format("2 January 2006 at 15:04 UTC") }

// wrap writes a paragraph. A word longer than the width stands alone, broken
// only where a line would be too long for mail.
func wrap(out *bytes.Buffer, indent, text string) {
	used := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if used > 0 && used+1+n > textWidth {
			out.WriteString("\r\n")
			used = 0
		}
		if used == 0 {
			out.WriteString(indent)
			used = len(indent)
		} else {
			out.WriteByte(' ')
			used++
		}
		for len(word) > maxLine-used {
			cut := cutAt(word, maxLine-used)
			out.WriteString(word[:cut] + "\r\n" + indent)
			word, used = word[cut:], len(indent)
		}
		out.WriteString(word)
		used += n
	}
	out.WriteString("\r\n")
}
