package interop_test

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/postern-mail/postern/internal/drill/oracle"
)

// awkward are messages whose octets are easily hurt on their way. Lines stay
// below 998 octets (RFC 5321 section 4.5.3.1.6), because peers fold longer ones.
func awkward(name string, utf8 bool) []*oracle.Message {
	rng := rand.New(rand.NewPCG(7, 7))
	make1 := func(what, body, param string, to ...string) *oracle.Message {
		id := name + "-" + what
		if to == nil {
			to = []string{id + ".0@" + domain}
		}
		rest := fmt.Sprintf("From: <a@%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-ID: <%s@drill.test>\r\n\r\n%s", domain, to[0], what, id, body)
		return &oracle.Message{ID: id, ReversePath: "a@" + domain, Recipients: to, Body: param, Content: oracle.Marked(id, []byte(rest))}
	}
	lines := func(octets int) string {
		var b strings.Builder
		for b.Len() < octets {
			b.WriteString(strings.Repeat(string(rune('a'+rng.IntN(26))), 1+rng.IntN(76)) + "\r\n")
		}
		return b.String()
	}
	all := []*oracle.Message{
		make1("plain", "hello\r\n", ""),
		make1("dots", ".\r\n..\r\n.x\r\n...\r\n. \r\nx.\r\n\r\n.\r\n.\r\n", ""),
		make1("from-line", "From here on\r\n>From there\r\n", ""),
		make1("white-space", "  \r\n\t\r\nend of line \t \r\n\r\n\r\n\r\n", ""),
		make1("long-lines", strings.Repeat(strings.Repeat("l", 990)+"\r\n", 40), ""),
		make1("long-dots", strings.Repeat("."+strings.Repeat(".", 900)+"\r\n", 20), ""),
		make1("eight-bit", "Grüße, žluťoučký kůň, 日本語\r\n\xff\xfe\x80 no UTF-8\r\n", "8BITMIME"),
		make1("two-recipients", "x\r\n", "", name+"-two.0@"+domain, name+"-two.1@"+domain),
		make1("300KiB", lines(300<<10), ""),
		make1("5MiB", lines(5<<20), ""),
	}
	if utf8 {
		all = append(all, make1("utf8", "Pelé\r\n", "8BITMIME SMTPUTF8", "pelé."+name+"@"+domain))
	}
	return all
}
