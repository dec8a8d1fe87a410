// Package oracle knows what was sent and what arrived, independent of the
// gateway between the two.
//
// A generator (Load, Client) sends messages that each carry a unique ID, in a
// header field and in every recipient's local part, and a SHA-256 of all that
// follows that field. A Sink takes mail as the next hop would and notes each
// arrival: which ID, which recipient, whether the octets are those that were
// sent. Judge compares the two lists.
//
// # What it promises
//
//   - No code of the gateway's SMTP halves: plain net connections and its own
//     reading of RFC 5321, so that one misreading is not made twice.
//   - A message is sent once. A reply that never came is Doubt, not a second
//     try; so every second copy at a sink was made by the gateway.
//   - A verdict needs nothing from the gateway: lost is "acknowledged, and
//     neither delivered nor named by a DSN".
//
// # States of a message, as the generator saw it
//
//	Acked    250 was read for the end of data    must arrive (or be bounced), whole
//	Refused  4xx or 5xx was read                 must not arrive
//	Doubt    the connection ended before a reply may arrive once
//
// # Failures
//
// A Client returns every network error. Load notes them as Doubt or as a
// refused connection and dials again until its context ends. A Sink records what
// it cannot parse as a stranger; it never guesses.
package oracle
