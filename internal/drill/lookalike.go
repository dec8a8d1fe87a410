package drill

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/internal/drill/oracle"
)

// endings are octets that are not the end of data, however much they look so.
func endings() [][]byte {
	before := []string{"\n", "\r", "\r\n", "\n\r", "\r\n\x00", "\r\x00\n", "\v", "\f", "\u0085", "\u2028", "\x8d\x8a", "\r\n ", "\x1a"}
	dots := []string{".", "..", ".\x00", "\x00.", ". ", ".\t", "\u3002", "\xae"}
	after := []string{"\n", "\r", "\r\n", "\r\r\n", "\n\r", "\r\x00\n", "\x00\r\n", "\u0085", "\x8d\x8a", "\x1a"}
	var out [][]byte
	for _, b := range before {
		for _, d := range dots {
			for _, a := range after {
				if e := b + d + a; !strings.Contains(e, "\r\n.\r\n") {
					out = append(out, []byte(e))
				}
			}
		}
	}
	return append(out, collected()...)
}

// collected reads the suite of published vectors that lies beside a checkout;
// without one the list above stands alone.
func collected() [][]byte {
	var file struct {
		Vectors []struct {
			End string `json:"end_of_data_hex"`
		} `json:"vectors"`
	}
	for _, dir := range []string{"../shared/testdata", "../../../shared/testdata"} {
		b, err := os.ReadFile(dir + "/smtp-smuggling/vectors.json")
		if err != nil || json.Unmarshal(b, &file) != nil {
			continue
		}
		var out [][]byte
		for _, v := range file.Vectors {
			if e, err := hex.DecodeString(v.End); err == nil && !bytes.Contains(e, []byte("\r\n.\r\n")) {
				out = append(out, e)
			}
		}
		return out
	}
	return nil
}

// smuggled is a second transaction as a stranger writes it into content.
func smuggled(name, domain string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "MAIL FROM:<boss@%s>\r\nRCPT TO:<%s.%s@%s>\r\nDATA\r\n", domain, smuggledWord, name, domain)
	b.Write(oracle.Marked(smuggledWord+"."+name, []byte("Subject: smuggled\r\n\r\nsmuggled\r\n")))
	return b.Bytes()
}

// lookAlikes sends every ending to every next hop, with DATA and with BDAT.
func lookAlikes(ctx context.Context, s *stage) error {
	a, err := newAbused(ctx, s)
	if err != nil {
		return err
	}
	defer a.close()
	all := endings()
	jobs := make(chan func(*rand.Rand), 64)
	var wg sync.WaitGroup
	for i := range 16 {
		rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
		wg.Go(func() {
			for job := range jobs {
				job(rng)
			}
		})
	}
	for i, e := range all {
		for k, domain := range a.domains {
			name := fmt.Sprintf("%d-%d", i, k)
			jobs <- func(rng *rand.Rand) { a.dataWith(ctx, e, name, domain, rng.IntN(4) == 0) }
			if i%8 == 0 || bytes.HasPrefix(e, []byte("\n")) {
				jobs <- func(*rand.Rand) { a.chunkWith(ctx, e, name+"-bdat", domain) }
			}
		}
	}
	for k, domain := range a.domains { // inside a chunk the real end is content like any other
		jobs <- func(*rand.Rand) { a.chunkWith(ctx, []byte("\r\n.\r\n"), "real-"+itoa(k), domain) }
	}
	close(jobs)
	wg.Wait()
	s.fact("look-alikes", "%d, each to %d next hops", len(all), len(a.domains))
	if err := a.verdict(ctx); err != nil {
		return err
	}
	if s.part.weakness == "" {
		a.wholeChunks()
	}
	return nil
}

// wholeChunks holds that content with CRLF.CRLF that came by BDAT arrived as
// one message, whole, at strict next hops and lenient ones.
func (a *abused) wholeChunks() {
	for k, sink := range a.sinks {
		found := 0
		for _, got := range sink.Arrivals() {
			if got.ID == "carrier.real-"+itoa(k) {
				found++
				if !got.Intact {
					a.finding("content with CRLF.CRLF from BDAT arrived changed at %s", a.domains[k])
				}
			}
		}
		if found != 1 {
			a.finding("content with CRLF.CRLF from BDAT arrived %d times at %s", found, a.domains[k])
		}
	}
}

// begin runs a session up to the recipient of the carrier. nil when the node
// refused something, which is its right.
func (a *abused) begin(ctx context.Context, name, domain string) *oracle.Client {
	c, err := dialFrom(ctx, a.node.SMTP)
	if err != nil {
		return nil
	}
	for _, line := range []string{"EHLO client.test", "MAIL FROM:<" + sender + "> BODY=8BITMIME", "RCPT TO:<carrier." + name + "@" + domain + ">"} {
		if r, err := c.Command("%s", line); err != nil || !r.Positive() {
			c.Close()
			return nil
		}
	}
	return c
}

func (a *abused) dataWith(ctx context.Context, end []byte, name, domain string, split bool) {
	c := a.begin(ctx, name, domain)
	if c == nil {
		return
	}
	defer c.Close()
	if r, err := c.Command("DATA"); err != nil || r.Code != 354 {
		return
	}
	octets := append([]byte("Subject: carrier\r\n\r\ncarrier"), end...)
	if split { // an octet a packet, where readers lose their state
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetNoDelay(true)
		}
		for _, b := range octets[len(octets)-len(end):] {
			if c.Write([]byte{b}) != nil {
				return
			}
		}
		octets = nil
	}
	octets = append(octets, smuggled(name, domain)...)
	if c.Write(append(octets, "\r\n.\r\nQUIT\r\n"...)) != nil {
		return
	}
	drain(c)
}

func (a *abused) chunkWith(ctx context.Context, end []byte, name, domain string) {
	c := a.begin(ctx, name, domain)
	if c == nil {
		return
	}
	defer c.Close()
	rest := append([]byte("Subject: carrier\r\n\r\ncarrier"), end...)
	rest = append(append(rest, smuggled(name, domain)...), "\r\n.\r\nend\r\n"...)
	content := oracle.Marked("carrier."+name, rest)
	half := len(content) - len(rest)/2
	octets := fmt.Appendf(nil, "BDAT %d\r\n%s", half, content[:half])
	octets = append(octets, fmt.Appendf(nil, "BDAT %d LAST\r\n%s", len(content)-half, content[half:])...)
	if c.Write(append(octets, "QUIT\r\n"...)) != nil {
		return
	}
	drain(c)
}

// drain reads replies until the node closes or says nothing for a while.
func drain(c *oracle.Client) {
	for {
		r, err := c.ReadReplyWithin(5 * time.Second)
		if err != nil || r.Code == 221 || r.Code == 421 {
			return
		}
	}
}

// dialFrom connects from a random address of 127.0.0.0/8, so that neither
// ports nor the bound per client network run out, and reads the greeting.
func dialFrom(ctx context.Context, addr string) (*oracle.Client, error) {
	c, err := oracle.DialBareFrom(ctx, addr, net.IPv4(127, byte(1+rand.IntN(250)), byte(rand.IntN(250)), byte(1+rand.IntN(250))))
	if err != nil {
		return nil, err
	}
	if c.Greet, err = c.ReadReply(); err != nil || c.Greet.Code != 220 {
		c.Close()
		return nil, fmt.Errorf("greeting %q: %w", c.Greet.Text, err)
	}
	return c, nil
}

func hasWord(recipient, word string) bool { return strings.HasPrefix(recipient, word+".") }
