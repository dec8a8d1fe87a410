package smtpserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/internal/smtpwire"
)

// Config is what one Server, that is one kind of listener, needs to know.
// Zero values mean the default that the comment names; for bounds, a negative
// value means none.
type Config struct {
	Name     string // of the listener, in logs and metrics; from a small set. Default "smtp"
	Hostname string // A-label; in the greeting and in EHLO. Required

	Submission   bool        // AUTH is offered (under TLS), and needed before MAIL unless AuthOptional
	AuthOptional bool        // MAIL is taken without AUTH on a submission listener; the Session decides
	TLS          *tls.Config // nil: no STARTTLS. Use GetConfigForClient or GetCertificate to change it while running
	ImplicitTLS  bool        // TLS from the first octet (RFC 8314 section 3); TLS must be set
	RequireTLS   bool        // before MAIL and AUTH (RFC 3207 section 4: not on a public MX)

	MaxContentOctets     int64 // of one message, decoded; advertised by SIZE. Default 50 MiB
	MaxContentLine       int   // octets of a line of content with CRLF. Default 1 MiB
	MaxRecipients        int   // accepted in one transaction; advertised as RCPTMAX. Default 1,000
	MaxRefusedRecipients int   // since the last accepted message; then 452 unasked. Default 100
	MaxMessages          int   // on one connection; advertised as MAILMAX. Default 10,000
	MaxErrors            int   // 5yz replies to commands since the last accepted message. Default 20
	MaxAuthFailures      int   // on one connection. Default 3
	MaxVerbs             int   // commands since the last accepted message. Default MaxRecipients + 1,500
	MaxConnections       int   // open at once in this server. Default 2,000

	Newlines  smtpwire.Newlines // Reject (default) or Normalise
	GreetWait time.Duration     // wait before the greeting, to catch more clients that talk first. Default 0: one look; at most 30 s
	Deadlines Deadlines
	MinRate   int // octets per second inside content after Deadlines.RateGrace. Default 500, as Postfix has it

	ProxyProtocol bool           // a PROXY header (v1 or v2) is required before anything else
	ProxyFrom     []netip.Prefix // who may connect then; empty: anyone who reaches the listener
	XClientFrom   []netip.Prefix // who may use XCLIENT; empty: nobody

	// Admit takes one connection's place for the client's address, or refuses
	// it. release is called once, when the connection is closed. nil: no bound.
	Admit func(netip.Addr) (release func(), ok bool)

	// NextSession numbers sessions, for logs; share it between the servers of a
	// process. nil: the server counts for itself.
	NextSession func() uint64

	Logger  *slog.Logger // nil: no log
	Metrics *Metrics     // nil: not exported
}

// Deadlines is how long the server waits, per phase. Zero values mean the
// defaults, which are RFC 5321 section 4.5.3.2 where it speaks of servers.
type Deadlines struct {
	Command      time.Duration // for a whole command line. Default 5 min (section 4.5.3.2.7)
	DataBlock    time.Duration // for the next octets of content. Default 3 min (section 4.5.3.2.5)
	Content      time.Duration // for the whole content of a message, all its chunks. Default 1 h (chosen)
	RateGrace    time.Duration // before MinRate counts. Default 60 s (chosen)
	Write        time.Duration // for the client to take replies. Default 2 min (chosen)
	TLSHandshake time.Duration // Default 30 s (chosen)
	ProxyHeader  time.Duration // Default 5 s (chosen: a proxy sends it at once)
	Linger       time.Duration // to let a client read why it was cut. Default 10 s (chosen)
	Session      time.Duration // for the whole connection. Default 2 h (chosen: 50 MiB at 60 kbit/s)
}

// errConfig is wrapped by every error of New.
var errConfig = errors.New("smtp server configuration")

// withDefaults returns c with its zero values replaced.
func (c Config) withDefaults() Config {
	setDefault(&c.Name, "smtp")
	setDefault(&c.MaxContentOctets, 50<<20)
	setDefault(&c.MaxContentLine, 1<<20)
	setDefault(&c.MaxRecipients, 1000)
	setDefault(&c.MaxRefusedRecipients, 100)
	setDefault(&c.MaxMessages, 10_000)
	setDefault(&c.MaxErrors, 20)
	setDefault(&c.MaxAuthFailures, 3)
	setDefault(&c.MaxVerbs, max(c.MaxRecipients, 0)+1500)
	setDefault(&c.MaxConnections, 2000)
	setDefault(&c.MinRate, 500)
	d := &c.Deadlines
	setDefault(&d.Command, 5*time.Minute)
	setDefault(&d.DataBlock, 3*time.Minute)
	setDefault(&d.Content, time.Hour)
	setDefault(&d.RateGrace, time.Minute)
	setDefault(&d.Write, 2*time.Minute)
	setDefault(&d.TLSHandshake, 30*time.Second)
	setDefault(&d.ProxyHeader, 5*time.Second)
	setDefault(&d.Linger, 10*time.Second)
	setDefault(&d.Session, 2*time.Hour)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// check names everything that is wrong with c, which has its defaults.
func (c *Config) check() error {
	var errs []error
	wrong := func(bad bool, what string) {
		if bad {
			errs = append(errs, fmt.Errorf("%w: %s: %s", errConfig, c.Name, what))
		}
	}
	wrong(c.Hostname == "" || !validHello([]byte(c.Hostname)), "Hostname is missing or malformed")
	wrong(c.TLS == nil && c.ImplicitTLS, "ImplicitTLS without TLS")
	wrong(c.TLS == nil && c.RequireTLS, "RequireTLS without TLS")
	wrong(c.GreetWait < 0 || c.GreetWait > 30*time.Second, "GreetWait is not within 0 and 30 s")
	wrong(c.Newlines > smtpwire.Normalise, "Newlines is neither Reject nor Normalise")
	d := c.Deadlines
	for _, t := range []time.Duration{d.Command, d.DataBlock, d.Content, d.RateGrace, d.Write, d.TLSHandshake, d.ProxyHeader, d.Linger, d.Session} {
		wrong(t < 0, "a deadline is negative")
	}
	return errors.Join(errs...)
}

// over reports whether n is beyond limit, which is none when negative.
func over(n, limit int) bool { return limit >= 0 && n > limit }
