package drill

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/internal/drill/oracle"
)

// watchEvery is how often memory is looked at while sessions run: chosen.
const watchEvery = 50 * time.Millisecond

// randomSessions runs sessions out of random pieces. Recipients that begin
// with "smuggled" stand only where a strict reader of RFC 5321 sees content.
func randomSessions(ctx context.Context, s *stage) error {
	a, err := newAbused(ctx, s)
	if err != nil {
		return err
	}
	defer a.close()
	total := int64(s.pick(4000, 1_000_000))
	var next, failedDials atomic.Int64
	var wg sync.WaitGroup
	peak := a.baseline
	stopWatch := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			if f, err := a.node.Footprint(); err == nil && f.Anonymous > peak.Anonymous {
				peak = f
			}
			select {
			case <-stopWatch:
				return
			case <-ctx.Done():
				return
			default:
				if pause(ctx, watchEvery) != nil {
					return
				}
			}
		}
	})
	for i := range 32 {
		rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > total || ctx.Err() != nil || !a.node.Running() {
					return
				}
				if !a.randomSession(ctx, rng, n) {
					failedDials.Add(1)
				}
			}
		})
	}
	wg.Wait()
	close(stopWatch)
	watch.Wait()
	s.fact("sessions", "%d, %d of them not greeted", min(next.Load(), total), failedDials.Load())
	s.fact("anonymous memory, peak", "%d KiB", peak.Anonymous>>10)
	if failedDials.Load() > total/100 {
		s.finding("%d of %d sessions were not greeted", failedDials.Load(), total)
	}
	return a.verdict(ctx)
}

// randomSession is one session; false when it got no greeting.
func (a *abused) randomSession(ctx context.Context, rng *rand.Rand, n int64) bool {
	c, err := dialFrom(ctx, a.node.SMTP)
	if err != nil {
		return false
	}
	defer c.Close()
	domain := a.domains[rng.IntN(len(a.domains))]
	if rng.IntN(2) == 0 {
		a.randomContent(c, rng, fmt.Sprintf("r%d", n), domain)
	} else {
		randomCommands(c, rng, domain)
	}
	if rng.IntN(8) == 0 { // a reset instead of an orderly end
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	return true
}

var words = []string{
	"EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "STARTTLS", "AUTH", "VRFY", "EXPN", "HELP", "XCLIENT", "ETRN",
	"FROM:", "TO:", "<>", "<postmaster>", "LAST", "SIZE=", "BODY=8BITMIME", "BODY=BINARYMIME", "SMTPUTF8", "RET=FULL", "ENVID=", "NOTIFY=NEVER", "ORCPT=rfc822;",
	"PLAIN", "LOGIN", "AGEAYg==", "=", "*", "0", "1", "-1", "4294967296", "99999999999999999999", "\x00", "\t", "\r", "\n", "  ", "\x7f", "é", "\xff\xfe",
	"client.test", "[127.0.0.1]", "[IPv6:::1]", "<@a,@b:c@d>", "\"q\\\" q\"@x.test", "ADDR=127.0.0.1", "LOGIN=root",
}

// randomCommands sends lines of random words, whole groups at a time.
func randomCommands(c *oracle.Client, rng *rand.Rand, domain string) {
	var b bytes.Buffer
	for range 1 + rng.IntN(40) {
		switch rng.IntN(6) {
		case 0:
			b.WriteString(hello)
		case 1:
			fmt.Fprintf(&b, "MAIL FROM:<a@%s>\r\n", domain)
		case 2:
			fmt.Fprintf(&b, "RCPT TO:<bent@%s>\r\n", domain)
		default:
			for range 1 + rng.IntN(6) {
				b.WriteString(words[rng.IntN(len(words))])
				if rng.IntN(3) > 0 {
					b.WriteByte(' ')
				}
			}
			b.WriteString("\r\n")
		}
	}
	octets := b.Bytes()
	for range rng.IntN(4) {
		octets[rng.IntN(len(octets))] = byte(rng.IntN(256))
	}
	if bytes.Contains(octets, []byte(smuggledWord)) || c.Write(octets) != nil {
		return
	}
	if tcp, ok := c.Conn.(*net.TCPConn); ok && rng.IntN(3) > 0 {
		_ = tcp.CloseWrite()
		drain(c)
	}
}

// randomContent brings a transaction to its content, which is then made of
// look-alikes and of commands, and never holds the real end.
func (a *abused) randomContent(c *oracle.Client, rng *rand.Rand, name, domain string) {
	for _, line := range []string{"EHLO client.test", "MAIL FROM:<a@" + domain + ">", "RCPT TO:<carrier." + name + "@" + domain + ">"} {
		if r, err := c.Command("%s", line); err != nil || !r.Positive() {
			return
		}
	}
	content := randomPieces(rng, name, domain)
	if rng.IntN(3) == 0 {
		_ = c.Write([]byte(chunk(content, rng.IntN(4) > 0) + "QUIT\r\n"))
		drain(c)
		return
	}
	if r, err := c.Command("DATA"); err != nil || r.Code != 354 {
		return
	}
	content = withoutEnd(content)
	if rng.IntN(4) > 0 {
		content = append(content, "\r\n.\r\nQUIT\r\n"...)
	}
	for len(content) > 0 { // in packets of random length
		n := min(len(content), 1+rng.IntN(2048))
		if c.Write(content[:n]) != nil {
			return
		}
		content = content[n:]
	}
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	drain(c)
}

func randomPieces(rng *rand.Rand, name, domain string) []byte {
	var b bytes.Buffer
	for i := range 1 + rng.IntN(12) {
		switch rng.IntN(5) {
		case 0:
			b.Write(smuggled(fmt.Sprintf("%s-%d", name, i), domain))
		case 1:
			b.WriteString(strings.Repeat("text ", rng.IntN(300)) + "\r\n")
		default:
			for range 1 + rng.IntN(6) {
				b.WriteString([]string{"\r", "\n", ".", "\r\n", "\x00", " ", "..", "\r\n.", ".\r\n", "\n.\n", "\r.\r"}[rng.IntN(11)])
			}
		}
	}
	return b.Bytes()
}

// withoutEnd takes every CRLF.CRLF out of content, one at the start included:
// there the CRLF is that of DATA.
func withoutEnd(content []byte) []byte {
	b := append([]byte("\r\n"), content...)
	for {
		i := bytes.Index(b, []byte("\r\n.\r\n"))
		if i < 0 {
			return b[2:]
		}
		b[i+2] = ','
	}
}
