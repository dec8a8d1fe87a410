package smtpclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/postern-mail/postern/internal/smtpwire"
)

// Dialer makes connections. *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// Chunking says when BDAT (RFC 3030) is used; see the package comment.
type Chunking uint8

// The values of Chunking.
const (
	// ChunkingWhenSafe uses BDAT where it saves a round trip without risk: the
	// peer offers CHUNKING and not PIPELINING.
	ChunkingWhenSafe Chunking = iota
	// ChunkingNever always uses DATA.
	ChunkingNever
	// ChunkingOneWrite writes MAIL, RCPT and a BDAT of up to 32 KiB at once
	// where the peer offers both. Only for peers that are known to be sound.
	ChunkingOneWrite
)

// Deadlines of the phases. Zero values get the defaults, which are RFC 5321
// section 4.5.3.2's where it has one.
type Deadlines struct {
	Connect   time.Duration // 30 s; chosen: Linux gives up after five SYNs in 31 s
	Greeting  time.Duration // 5 min (section 4.5.3.2.1)
	Hello     time.Duration // 5 min; chosen: as MAIL
	Handshake time.Duration // 1 min for STARTTLS with its handshake; chosen
	Mail      time.Duration // 5 min (section 4.5.3.2.2)
	Rcpt      time.Duration // 5 min (section 4.5.3.2.3)
	Data      time.Duration // 2 min (section 4.5.3.2.4)
	Block     time.Duration // 3 min for each write of content (section 4.5.3.2.5)
	End       time.Duration // 10 min (section 4.5.3.2.6)
	Reset     time.Duration // 20 s; chosen
	Quit      time.Duration // 1 s; chosen: nothing hangs on the reply
	// Grace is how much longer than its context Send waits for the reply to
	// end-of-data, because giving up there makes a duplicate. 5 s; chosen.
	Grace time.Duration
}

func (d Deadlines) withDefaults() Deadlines {
	d.Connect = cmp.Or(d.Connect, 30*time.Second)
	d.Greeting = cmp.Or(d.Greeting, 5*time.Minute)
	d.Hello = cmp.Or(d.Hello, 5*time.Minute)
	d.Handshake = cmp.Or(d.Handshake, time.Minute)
	d.Mail = cmp.Or(d.Mail, 5*time.Minute)
	d.Rcpt = cmp.Or(d.Rcpt, 5*time.Minute)
	d.Data = cmp.Or(d.Data, 2*time.Minute)
	d.Block = cmp.Or(d.Block, 3*time.Minute)
	d.End = cmp.Or(d.End, 10*time.Minute)
	d.Reset = cmp.Or(d.Reset, 20*time.Second)
	d.Quit = cmp.Or(d.Quit, time.Second)
	d.Grace = cmp.Or(d.Grace, 5*time.Second)
	return d
}

// of returns the deadline for the reply that ends a phase.
func (d *Deadlines) of(p Phase) time.Duration {
	switch p {
	case Connect:
		return d.Connect
	case Greeting:
		return d.Greeting
	case Hello:
		return d.Hello
	case StartTLS:
		return d.Handshake
	case Mail:
		return d.Mail
	case Rcpt:
		return d.Rcpt
	case Data:
		return d.Data
	case Content:
		return d.Block
	case EndOfData:
		return d.End
	case Reset:
		return d.Reset
	}
	return d.Quit
}

// Config is what all connections of a Client share.
type Config struct {
	// Hostname is said in EHLO: an A-label name or an address literal.
	// Default "localhost".
	Hostname string
	// Dialer makes connections. Default: net.Dialer with Source4 or Source6
	// as its local address. A Dialer that is given ignores those two.
	Dialer           Dialer
	Source4, Source6 netip.Addr // zero: the kernel's choice
	Deadlines        Deadlines
	// MinRate is the least octets per second of content, counted after
	// MinRateAfter. Default 2048, chosen: a tenth of what a bad mobile link
	// gives. Negative: none.
	MinRate int
	// MinRateAfter is how long content may take whatever its rate. Default 1 min.
	MinRateAfter time.Duration
	Chunking     Chunking
	// Roots is what certificates are compared with for the record and by
	// nothing else. Default: the system's.
	Roots *x509.CertPool
	// Clock is for tests; default time.Now. It must carry a monotonic reading.
	Clock func() time.Time
}

// Client opens connections. It is safe for concurrent use.
type Client struct {
	cfg      Config
	buffers  smtpwire.Buffers
	scratch  sync.Pool // *scratch
	sessions tls.ClientSessionCache
}

// scratch is what a Conn needs while content flows: read from the file, and
// encoded for the wire.
type scratch struct {
	in  [32 << 10]byte
	out []byte
}

// New returns a Client.
func New(cfg Config) *Client {
	cfg.Deadlines = cfg.Deadlines.withDefaults()
	cfg.Hostname = cmp.Or(cfg.Hostname, "localhost")
	cfg.MinRate = cmp.Or(cfg.MinRate, 2048)
	cfg.MinRateAfter = cmp.Or(cfg.MinRateAfter, time.Minute)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Client{cfg: cfg, sessions: tls.NewLRUClientSessionCache(512)}
}

func (c *Client) takeScratch() *scratch {
	if s, ok := c.scratch.Get().(*scratch); ok {
		return s
	}
	return &scratch{out: make([]byte, 0, 36<<10)}
}

func (c *Client) giveScratch(s *scratch) { c.scratch.Put(s) }
