package drill

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/internal/drill/oracle"
)

// bend is one way to bend the protocol. run talks on a connection that has not
// been read from and says what it found wrong, "" for nothing. A connection
// that the node closes is never wrong.
type bend struct {
	name string
	run  func(c *oracle.Client, domain string) string
}

// bentVerbs tries each bend on its own connection and then looks at the node.
func bentVerbs(ctx context.Context, s *stage) error {
	a, err := newAbused(ctx, s)
	if err != nil {
		return err
	}
	defer a.close()
	all := bends()
	found := make([]string, len(all))
	at := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for i, b := range all {
		at <- struct{}{}
		wg.Go(func() {
			defer func() { <-at }()
			c, err := oracle.DialBare(ctx, a.node.SMTP)
			if err != nil {
				found[i] = fmt.Sprintf("the node does not answer: %v", err)
				return
			}
			defer c.Close()
			found[i] = b.run(c, strictDomain)
		})
	}
	wg.Wait()
	for i, why := range found {
		if why != "" {
			s.finding("%s: %s", all[i].name, why)
		}
	}
	s.fact("bends", "%d", len(all))
	return a.verdict(ctx)
}

func bends() []bend {
	flood := func(name, line string, n int) bend {
		return bend{fmt.Sprintf("%d times %s", n, name), func(c *oracle.Client, _ string) string {
			return mustEnd(c, hello+strings.Repeat(line+"\r\n", n))
		}}
	}
	return []bend{
		{"talk before the greeting", earlyTalk},
		{"commands behind STARTTLS", behindSTARTTLS},
		{"EHLO of 1 MB", func(c *oracle.Client, _ string) string {
			return refusedThenEnd(c, "EHLO "+strings.Repeat("a", 1<<20)+"\r\n")
		}},
		{"1 MB without a line end", func(c *oracle.Client, _ string) string {
			return refusedThenEnd(c, strings.Repeat("a", 1<<20))
		}},
		{"MAIL with 1 MB of parameters", func(c *oracle.Client, d string) string {
			return refusedThenEnd(c, hello+"MAIL FROM:<a@"+d+">"+strings.Repeat(" X=1", 1<<18)+"\r\n")
		}},
		{"1 MB of CR", func(c *oracle.Client, _ string) string { return refusedThenEnd(c, strings.Repeat("\r", 1<<20)) }},
		{"1 MB of LF", func(c *oracle.Client, _ string) string { return refusedThenEnd(c, strings.Repeat("\n", 1<<20)) }},
		{"1 MB of NUL", func(c *oracle.Client, _ string) string { return refusedThenEnd(c, strings.Repeat("\x00", 1<<20)) }},
		{"NUL in a command", func(c *oracle.Client, _ string) string {
			return refusedWith(c, "EHLO client\x00.test\r\n", 500)
		}},
		{"bare LF ends a command", func(c *oracle.Client, d string) string {
			return noMail(c, "EHLO client.test\nMAIL FROM:<a@"+d+">\nRCPT TO:<"+smuggledWord+".barelf@"+d+">\nDATA\n"+"x\n.\n")
		}},
		{"BDAT without transaction, commands in the chunk", func(c *oracle.Client, d string) string {
			return noMail(c, hello+chunk(smuggled("bdat-none", d), true))
		}},
		{"BDAT after a refused RCPT, commands in the chunk", func(c *oracle.Client, d string) string {
			return noMail(c, hello+"MAIL FROM:<a@"+d+">\r\nRCPT TO:<a@nowhere.test>\r\n"+chunk(smuggled("bdat-refused", d), true))
		}},
		{"BDAT larger than SIZE allows, commands in the chunk", func(c *oracle.Client, d string) string {
			return noMail(c, hello+transaction(d)+"BDAT 999999999 LAST\r\n"+string(smuggled("bdat-large", d))+".\r\n")
		}},
		{"DATA between chunks", func(c *oracle.Client, d string) string {
			return noMail(c, hello+transaction(d)+chunk([]byte("Subject: x\r\n\r\n"), false)+"DATA\r\n"+string(smuggled("data-in-bdat", d))+"\r\n.\r\n")
		}},
		{"MAIL between chunks", func(c *oracle.Client, d string) string {
			return noMail(c, hello+transaction(d)+chunk([]byte("Subject: x\r\n\r\n"), false)+"MAIL FROM:<b@"+d+">\r\nRCPT TO:<"+smuggledWord+".mail-in-bdat@"+d+">\r\n"+chunk([]byte("y\r\n"), true))
		}},
		{"BDAT of a negative, an endless and no size", func(c *oracle.Client, d string) string {
			return noMail(c, hello+transaction(d)+"BDAT -1 LAST\r\nBDAT 18446744073709551616 LAST\r\nBDAT\r\nBDAT x LAST\r\nBDAT 0x10 LAST\r\nBDAT 10 FIRST\r\n")
		}},
		{"BDAT 0 LAST as the whole content", func(c *oracle.Client, d string) string {
			return talks(c, hello+transaction(d)+"BDAT 0 LAST\r\nQUIT\r\n")
		}},
		{"a chunk cut off", func(c *oracle.Client, d string) string {
			_ = c.Write([]byte(hello + transaction(d) + "BDAT 100000 LAST\r\nhalf"))
			return ""
		}},
		{"a chunk that ends in the middle of CRLF", func(c *oracle.Client, d string) string {
			return talks(c, hello+transaction(d)+chunk([]byte("Subject: x\r\n\r\nx\r"), false)+chunk([]byte("\ny\r\n"), true)+"QUIT\r\n")
		}},
		{"DATA cut off", func(c *oracle.Client, d string) string {
			_ = c.Write([]byte(hello + transaction(d) + "DATA\r\nhalf"))
			return ""
		}},
		{"nested MAIL", func(c *oracle.Client, d string) string {
			return refusedWith(c, hello+transaction(d)+"MAIL FROM:<b@"+d+">\r\n", 503)
		}},
		{"DATA without recipients", func(c *oracle.Client, d string) string {
			return refusedWith(c, hello+"MAIL FROM:<b@"+d+">\r\nDATA\r\n", 503, 554)
		}},
		{"MAIL before EHLO", func(c *oracle.Client, d string) string {
			return refusedWith(c, "MAIL FROM:<b@"+d+">\r\n", 503)
		}},
		{"HTTP", func(c *oracle.Client, _ string) string {
			return refusedThenEnd(c, "POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n")
		}},
		{"TLS without STARTTLS", func(c *oracle.Client, _ string) string {
			return refusedThenEnd(c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("\x00\xff", 600)+"\r\n")
		}},
		flood("NOOP", "NOOP", 20000), flood("RSET", "RSET", 20000), flood("EHLO", "EHLO a.test", 20000),
		flood("nonsense", "XYZZY", 5000), flood("VRFY", "VRFY a", 20000),
		{"100,000 recipients", func(c *oracle.Client, d string) string {
			var b bytes.Buffer
			b.WriteString(hello + "MAIL FROM:<a@" + d + ">\r\n")
			for i := range 100_000 {
				fmt.Fprintf(&b, "RCPT TO:<many.%d@%s>\r\n", i, d)
			}
			return talks(c, b.String()+"QUIT\r\n")
		}},
		{"a header of 5 MB", func(c *oracle.Client, d string) string {
			return talks(c, hello+transaction(d)+"DATA\r\n"+strings.Repeat("X-Long: "+strings.Repeat("h", 900)+"\r\n", 5500)+"\r\n.\r\nQUIT\r\n")
		}},
		{"a content line of 5 MB", func(c *oracle.Client, d string) string {
			return talks(c, hello+transaction(d)+"DATA\r\nSubject: x\r\n\r\n"+strings.Repeat("l", 5<<20)+"\r\n.\r\nQUIT\r\n")
		}},
	}
}

const hello = "EHLO client.test\r\n"

func transaction(domain string) string {
	return "MAIL FROM:<a@" + domain + ">\r\nRCPT TO:<bent@" + domain + ">\r\n"
}

func chunk(octets []byte, last bool) string {
	word := ""
	if last {
		word = " LAST"
	}
	return fmt.Sprintf("BDAT %d%s\r\n%s", len(octets), word, octets)
}

// script reads the greeting, then writes everything while it reads every reply,
// until the node closes or is silent. The greeting is not among the replies.
func script(c *oracle.Client, octets string) (replies []oracle.Reply, closed bool) {
	if _, err := c.ReadReply(); err != nil {
		return nil, !isTimeout(err)
	}
	return rush(c, octets)
}

// rush is script without waiting for the greeting.
func rush(c *oracle.Client, octets string) (replies []oracle.Reply, closed bool) {
	wrote := make(chan struct{})
	go func() { // ends with the write's deadline or the connection
		defer close(wrote)
		_ = c.Write([]byte(octets)) // the node may close at any point
	}()
	defer func() { c.Close(); <-wrote }()
	for {
		r, err := c.ReadReplyWithin(3 * time.Second)
		if err != nil {
			return replies, !isTimeout(err)
		}
		replies = append(replies, r)
		if r.Code == 221 || r.Code == 421 {
			return replies, true
		}
	}
}

func isTimeout(err error) bool {
	t, ok := err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}

// talks holds only that the node reads or closes: no hang before QUIT.
func talks(c *oracle.Client, octets string) string {
	if _, closed := script(c, octets); !closed {
		return "the node fell silent"
	}
	return ""
}

// noMail runs a script whose mail, if it is taken, verdict finds at the sink.
func noMail(c *oracle.Client, octets string) string {
	script(c, octets)
	return ""
}

// mustEnd holds that the node ends the session before the script is over.
func mustEnd(c *oracle.Client, octets string) string {
	replies, closed := script(c, octets)
	if !closed {
		return fmt.Sprintf("the session never ended; %d replies", len(replies))
	}
	return ""
}

// refusedThenEnd holds that the last reply is a refusal, or that the node
// closed without one.
func refusedThenEnd(c *oracle.Client, octets string) string {
	replies, closed := script(c, octets)
	if !closed && (len(replies) == 0 || replies[len(replies)-1].Code < 400) {
		return fmt.Sprintf("neither refused nor closed; %d replies", len(replies))
	}
	return ""
}

// refusedWith holds that the last reply has one of the codes.
func refusedWith(c *oracle.Client, octets string, codes ...int) string {
	replies, _ := script(c, octets)
	if len(replies) == 0 {
		return "no reply"
	}
	last := replies[len(replies)-1]
	for _, want := range codes {
		if last.Code == want || last.Code == 501 && want == 500 {
			return ""
		}
	}
	return fmt.Sprintf("want %v, got %s", codes, last.Text)
}

// earlyTalk sends a whole transaction before the greeting was read. A node may
// refuse it (RFC 5321 section 4.3.1) or take it; it may not leave it unanswered.
func earlyTalk(c *oracle.Client, domain string) string {
	replies, closed := rush(c, hello+transaction(domain)+"DATA\r\nSubject: early\r\n\r\nx\r\n.\r\nQUIT\r\n")
	if len(replies) == 0 || !closed {
		return fmt.Sprintf("%d replies, closed: %v", len(replies), closed)
	}
	return ""
}

// behindSTARTTLS sends commands in the packet of STARTTLS: none may be run
// inside TLS (CVE-2011-0411).
func behindSTARTTLS(c *oracle.Client, domain string) string {
	if _, err := c.ReadReply(); err != nil {
		return err.Error()
	}
	if r, err := c.Command("EHLO client.test"); err != nil || !strings.Contains(r.Text, "STARTTLS") {
		return fmt.Sprintf("STARTTLS is not offered: %s %v", r.Text, err)
	}
	injected := "STARTTLS\r\nEHLO injected.test\r\nMAIL FROM:<a@" + domain + ">\r\nRCPT TO:<" + smuggledWord + ".starttls@" + domain + ">\r\nDATA\r\nx\r\n.\r\n"
	if err := c.Write([]byte(injected)); err != nil {
		return ""
	}
	r, err := c.ReadReply()
	if err != nil || r.Code != 220 {
		return "" // refused or closed
	}
	conn := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the node's own self-signed certificate on loopback
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if conn.Handshake() != nil {
		return ""
	}
	if _, err := conn.Write([]byte("NOOP\r\n")); err != nil {
		return ""
	}
	b := make([]byte, 4096)
	n, _ := conn.Read(b)
	if strings.Count(string(b[:n]), "\r\n") > 1 || strings.HasPrefix(string(b[:n]), "250-") {
		return fmt.Sprintf("inside TLS it answers what was sent before: %q", b[:n])
	}
	return ""
}
