// Package envelope holds the item that walks through Postern: its ID, its
// paths, what was known when it arrived, and per recipient where it stands.
// It holds types and their words; how they lie on disk is package spool's.
package envelope

import (
	"net/netip"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/smtp"
)

// Envelope is what Postern knows of one message besides its content. It is
// immutable after it was committed: what changes later (state, next attempt)
// lies in Status, one per recipient.
type Envelope struct {
	ID       ID
	Tenant   string // tenant ID; "" only for mail of the node itself (postmaster, DSNs without a tenant)
	Region   string // "" on a node with one region
	Kind     Kind
	Parent   ID // the message that a DSN is about; zero otherwise
	Arrival  Arrival
	Reverse  smtp.Path
	Params   smtp.MailParams // as given by the client; Size is the declared one
	Forward  []Recipient     // at least one
	Size     int64           // octets of content as it is stored, our trace fields included
	Hops     uint16          // Received fields counted at arrival
	EightBit bool            // content has octets above 127
	UTF8     bool            // a header field has octets above 127 (RFC 6532): needs SMTPUTF8
}

// Recipient is one forward-path with its DSN parameters.
type Recipient struct {
	Path   smtp.Path
	Params smtp.RcptParams
}

// Kind says where a message comes from; it decides the ledger's source and
// whether a DSN may be sent (backscatter).
type Kind uint8

// The kinds. Their numbers are on disk: never renumber, only append.
const (
	// Inbound came over a public listener from a client that is neither
	// trusted nor authenticated.
	Inbound Kind = 1 + iota
	// Trusted came from a network that the node or tenant trusts.
	Trusted
	// Submitted came from an authenticated submission user.
	Submitted
	// Report was generated here: a DSN.
	Report
)

// Arrival holds the facts of the session that brought the message. The zero
// value belongs to generated mail, but for Time.
type Arrival struct {
	Time     time.Time // UTC, when end-of-data was read
	Client   netip.AddrPort
	Server   netip.AddrPort // the listener's address the client spoke to
	Listener string         // the listener's configured name
	Hello    string         // HELO or EHLO argument as given
	Protocol string         // RFC 3848 word: SMTP, ESMTP, ESMTPS, ESMTPSA, UTF8SMTPS ...
	TLS      string         // "TLS1.3 TLS_AES_128_GCM_SHA256", "" for plain
	User     string         // authenticated identity, "" when none
}

// State is where one recipient of a message stands. Terminal states are the
// ledger's dispositions (docs/HOUSE.md "Ledger").
type State uint8

// The states. Their numbers are on disk: never renumber, only append.
const (
	Queued        State = 1 + iota // to be tried at NextAttempt
	Held                           // kept back by a person or by doubt; never tried
	Delivered                      // terminal: the next hop said 2yz to end-of-data
	Bounced                        // terminal: a DSN was spooled in the same batch
	DSNSuppressed                  // terminal: gave up, and a DSN was not allowed or not wanted
	Discarded                      // terminal: by policy
	Deleted                        // terminal: by an operator
)

// Terminal reports whether s ends the recipient's walk.
func (s State) Terminal() bool { return s >= Delivered }

// Status is where one recipient stands now, as the spool's index holds it.
type Status struct {
	State       State
	Attempts    uint32
	NextAttempt time.Time // UTC; meaningful when State is Queued
	Cause       cause.Cause
}

// Attempt is one try for one recipient, kept with the peer's words.
type Attempt struct {
	Time     time.Time // UTC, when the try began
	Duration time.Duration
	NextHop  string         // the next hop's key, as configured or "example.org" for MX
	Host     string         // the MX host's name, "" when none was reached
	Peer     netip.AddrPort // zero when no connection stood
	TLS      string         // as Arrival.TLS
	Cause    cause.Cause    // None when delivered
	Reply    smtp.Reply     // the peer's words, verbatim; zero when it said nothing
	Detail   string         // our own words when there is no reply (an error text)
}

// Change takes one recipient of a message to another state. The spool writes
// it as a move (State is Queued or Held) or, when it is the last recipient's
// terminal state, ends the message.
type Change struct {
	ID          ID
	Recipient   int // index into Envelope.Forward
	To          State
	NextAttempt time.Time // UTC; zero unless To is Queued
	Cause       cause.Cause
	Attempt     *Attempt // nil when nothing was tried (expiry, operator)
	Report      ID       // To is Bounced: the DSN's ID; zero otherwise
}
