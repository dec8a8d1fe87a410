package tenant

import (
	"net"
	"strconv"
)

// TLSMode says what a next hop must offer before mail is given to it. The
// zero value is TLSOpportunistic.
type TLSMode uint8

// The values of TLSMode.
const (
	// TLSOpportunistic uses STARTTLS when the peer offers it, without checking
	// the certificate, and goes on in plain text when it does not (RFC 7435).
	TLSOpportunistic TLSMode = iota
	// TLSNone never asks for STARTTLS.
	TLSNone
	// TLSRequired defers rather than give mail to a peer without TLS. The
	// certificate is not checked.
	TLSRequired
)

// String returns the word that tenants.yaml uses: "opportunistic", "none" or
// "required".
func (m TLSMode) String() string {
	switch m {
	case TLSNone:
		return "none"
	case TLSRequired:
		return "required"
	default:
		return "opportunistic"
	}
}

// HostPort is one place to connect to. Host is an IP address without brackets
// or a lower-case A-label name; Port is never 0 in a compiled Snapshot.
type HostPort struct {
	Host string
	Port uint16
}

// String returns "host:port", with brackets around an IPv6 address.
func (h HostPort) String() string {
	return net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
}

// NextHop is where mail for a domain goes: either fixed Hosts, tried in the
// order given, or, when Hosts is empty, the MX hosts of MXDomain. It is
// immutable; Hosts is shared and must not be written to.
//
// Two domains with the same next hop have the same Key, so that the queue's
// lanes and bounds are shared by what really is one peer. Settings that
// differ (MaxConnections, TLS) make another Key.
type NextHop struct {
	// Key names the hop in queues, metrics and logs: "mx:example.org",
	// "10.0.0.1:25", "10.0.0.1:25,[::1]:25", with " tls=required" or " max=5"
	// after it where those are not the defaults. Printable ASCII, at most 200
	// octets (longer ones end in a hash). Never empty in a routable NextHop.
	Key      string
	Hosts    []HostPort
	MXDomain string // A-label, lower-case; "" when Hosts is used
	// MaxConnections bounds the lanes to this hop; 0: the node's default.
	MaxConnections int
	TLS            TLSMode
}

// IsZero reports whether h routes nowhere.
func (h NextHop) IsZero() bool { return h.Key == "" }

// MX returns the NextHop of a domain that is reached by its MX records.
// domainKey is a lower-case A-label name.
func MX(domainKey string) NextHop {
	return NextHop{Key: boundKey("mx:" + domainKey), MXDomain: domainKey}
}
