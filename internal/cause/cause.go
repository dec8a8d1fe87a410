// Package cause is the closed vocabulary of what goes wrong with a message on
// its way, and of what is decided about it. It holds words and no I/O.
//
// Every attempt, every deferral and every terminal disposition names exactly
// one Cause. A metric label, a line of `postern trace`, a DSN and an alarm all
// use the same word, so that a person who reads one finds the others.
package cause

// Cause names what went wrong. The zero value means that nothing did.
type Cause uint8

// The causes. Their numbers are on disk: never renumber, only append.
const (
	None Cause = iota

	// Names (dns).
	DNSNoSuchName  // the domain does not exist
	DNSNoAddress   // it exists, but has neither MX nor A nor AAAA
	DNSNullMX      // RFC 7505: the domain accepts no mail
	DNSCouldNotAsk // timeout, SERVFAIL, refused: nothing is known
	DNSBadAnswer   // an answer that can't be used (MX to an address literal, to ".", ...)
	RouteLoop      // the next hop is this node itself, or too many Received fields
	NoRoute        // no next hop is configured for the domain

	// Connection.
	ConnectRefused
	ConnectTimeout
	ConnectUnreachable
	ConnectReset
	TLSHandshake   // the peer offered STARTTLS and the handshake failed
	TLSRequired    // policy asks for TLS and the peer has none
	TLSCertificate // policy asks for a certificate that verifies, and it does not
	PeerTimeout    // a phase's deadline passed after the connection stood
	PeerSlow       // the total or the minimum rate was missed
	PeerClosed     // the peer closed in the middle
	PeerProtocol   // an answer that is not SMTP, or out of turn
	LostAfterData  // closed or silent after end-of-data: perhaps a duplicate

	// Replies.
	PeerGreeting4xx
	PeerGreeting5xx
	PeerHello
	PeerAuth
	PeerMail4xx
	PeerMail5xx
	PeerRcpt4xx
	PeerRcpt5xx
	PeerData4xx
	PeerData5xx
	PeerContent4xx // the reply to end-of-data
	PeerContent5xx
	PeerShutdown // 421

	// The message and the peer's extensions.
	Need8BitMIME
	NeedSMTPUTF8
	TooLargeForPeer

	// Ourselves.
	Expired        // queue lifetime is over
	LocalIO        // our own disk
	LocalLimit     // one of our bounds
	LocalShutdown  // we are stopping
	LocalDamage    // our own copy is damaged
	LocalInternal  // a defect of ours (a recovered panic)
	OperatorAction // a person decided
)
