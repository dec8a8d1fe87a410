package smtpclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// TLSMode says whether TLS is used.
type TLSMode uint8

// The values of TLSMode.
const (
	// TLSOpportunistic uses STARTTLS when it is offered and goes on in plain
	// text when it is not, or when the handshake fails (RFC 7435).
	TLSOpportunistic TLSMode = iota
	// TLSNone never asks for it.
	TLSNone
	// TLSRequired gives an *Error of kind TLSMissing or TLSFailed rather than
	// go on in plain text.
	TLSRequired
)

// TLSPolicy is what one connection must satisfy.
type TLSPolicy struct {
	Mode TLSMode
	// Verify decides about the peer after the handshake; it is the hook for
	// DANE and MTA-STS. An error ends the connection with kind TLSCertificate,
	// whatever Mode is. nil: everything is accepted.
	Verify func(host string, state *tls.ConnectionState) error
}

// TLSFacts is what is known about the TLS of a connection.
type TLSFacts struct {
	// Text is "TLS1.3 TLS_AES_128_GCM_SHA256", "" for plain text.
	Text string
	// Verified: the certificate chains to Roots and names the host. Nobody is
	// refused for lack of it.
	Verified bool
	// Why says why it is not Verified, "" when it is or in plain text.
	Why string
	// Failed says why the connection is in plain text although STARTTLS was
	// offered; "" otherwise.
	Failed string
}

// String returns what an attempt's record shows: Text, and in brackets what
// else is known.
func (f TLSFacts) String() string {
	switch {
	case f.Failed != "":
		return "plain (STARTTLS: " + f.Failed + ")"
	case f.Text == "":
		return ""
	case f.Verified:
		return f.Text + " (verified)"
	}
	return f.Text + " (not verified: " + f.Why + ")"
}

// errInjected: octets followed the reply to STARTTLS in plain text. They are
// never read as replies of the protected session.
var errInjected = errors.New("plain text after the reply to STARTTLS")

// maxWhy bounds the text of a TLS error that is kept, in octets; chosen.
const maxWhy = 200

// startTLS turns TLS on and says EHLO again (RFC 3207 section 4.2). A peer
// that refuses STARTTLS stays in plain text; an *Error of kind TLSFailed says
// that the connection is of no use any more.
func (c *Conn) startTLS(ctx context.Context, p TLSPolicy) *Error {
	r, err := c.command(ctx, StartTLS, "STARTTLS")
	if err != nil {
		return err
	}
	if r.Code != 220 {
		c.tls.Failed = clip(r.String())
		if p.Mode == TLSRequired {
			e := c.refused(StartTLS, r)
			e.Kind = TLSMissing
			return e
		}
		return nil
	}
	if c.rd.Discard() > 0 {
		return c.tlsFailed(errInjected)
	}
	t := tls.Client(c.raw, c.tlsConfig())
	c.arm(ctx, c.client.cfg.Deadlines.Handshake)
	if err := t.HandshakeContext(ctx); err != nil {
		return c.tlsFailed(err)
	}
	c.io = t
	c.rd.Source(t)
	state := t.ConnectionState()
	c.tls = c.factsOf(&state)
	if p.Verify != nil {
		if err := p.Verify(c.host, &state); err != nil {
			c.broken = true
			return &Error{Phase: StartTLS, Kind: TLSCertificate, Err: err}
		}
	}
	e := c.hello(ctx)
	if e != nil && e.Kind == Closed {
		// With TLS 1.3 a peer's alert about the handshake comes only now.
		e.Phase, e.Kind = StartTLS, TLSFailed
	}
	return e
}

func (c *Conn) tlsFailed(err error) *Error {
	c.broken = true
	return &Error{Phase: StartTLS, Kind: TLSFailed, Err: err}
}

// tlsConfig: no verification by the handshake (that is TLSPolicy's), TLS 1.2
// or later (RFC 8996 forbids what came before).
func (c *Conn) tlsConfig() *tls.Config {
	cfg := &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // opportunistic: RFC 7435 section 3
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: c.client.sessions,
	}
	if _, err := netip.ParseAddr(c.host); err != nil {
		cfg.ServerName = c.host
	}
	return cfg
}

// factsOf compares the certificate with the roots and the host's name.
func (c *Conn) factsOf(s *tls.ConnectionState) TLSFacts {
	f := TLSFacts{Text: tlsText(s)}
	if len(s.PeerCertificates) == 0 {
		f.Why = "no certificate"
		return f
	}
	pool := x509.NewCertPool()
	for _, cert := range s.PeerCertificates[1:] {
		pool.AddCert(cert)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		DNSName: c.host, Roots: c.client.cfg.Roots, Intermediates: pool, CurrentTime: c.client.cfg.Clock(),
	})
	f.Verified = err == nil
	if err != nil {
		f.Why = clip(why(err))
	}
	return f
}

// why puts the usual reasons in few words.
func why(err error) string {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "expired " + invalid.Cert.NotAfter.UTC().Format(time.DateOnly)
	case errors.As(err, &unknown):
		return "unknown authority"
	case errors.As(err, &host):
		return "other name"
	}
	return err.Error()
}

func tlsText(s *tls.ConnectionState) string {
	version := map[uint16]string{tls.VersionTLS12: "TLS1.2", tls.VersionTLS13: "TLS1.3"}[s.Version]
	if version == "" {
		version = fmt.Sprintf("TLS %#x", s.Version)
	}
	return version + " " + tls.CipherSuiteName(s.CipherSuite)
}

func clip(s string) string {
	if len(s) > maxWhy {
		return s[:maxWhy]
	}
	return s
}
