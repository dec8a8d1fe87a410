// Package relay carries messages to next hops: it resolves the next hop, tries
// its hosts in order, keeps the connection for the next message, and turns
// whatever went wrong into advice with a named cause.
//
// It promises:
//
//   - Deliver returns one Outcome for each recipient, in their order, and each
//     holds an Attempt with the host, the peer's address, the TLS used and the
//     peer's words.
//   - AdviceDelivered means that the peer said 2yz to RCPT and to end-of-data.
//   - AdviceFail means that the peer, or the domain's own DNS, refused for
//     good. Doubts of our own, a fixed host that has no address among them, are
//     AdviceDefer.
//   - When the peer may hold the message although it did not say so
//     (cause.LostAfterData), no other host is tried, and it is counted
//     (postern_relay_possible_duplicates_total).
//   - Deliver ends within Config.Total and the time that the content may take,
//     and soon after its context does; what was said after end-of-data is waited
//     for a little longer.
//   - After Halt nothing waits for a connection that is not made yet.
//
// It never decides when to try again, never writes to the spool, never opens a
// connection to one of our own listeners, and never bounces.
//
// trouble.go is the only place that decides whether trouble is temporary.
//
// How the hosts of a next hop are found (RFC 5321 section 5.1):
//
//	next hop          hosts
//	fixed hosts       as configured, in that order
//	MX records        by preference; equal ones shuffled; at ours and worse: cut
//	null MX           none: fail, dns-null-mx (RFC 7505)
//	no MX             the domain's own A and AAAA
//	no such domain    none: fail, dns-no-such-name; defer when it was good lately
//	MX but no address none: fail, dns-no-address, when all answers were certain
//	could not ask     defer, dns-could-not-ask
//
// Addresses of a host are tried IPv6 first and then alternating, so that a
// family that does not work costs one connect deadline and no more. They are
// not raced: a second connection that is dropped after its greeting looks like
// an attack to a careful peer, and mail is not in such a hurry.
//
// States of a Lane:
//
//	state       what is there                      leaves by
//	cold        no connection                      Deliver connects: warm
//	warm        a reusable connection              limits, idle, trouble: cold
//	closed      Close was called                   -
//
// A warm connection is asked first whether it still stands. When it breaks
// before the peer has answered anything to the new message, a new connection is
// made within the same attempt.
//
// Failures: nothing is fatal, nothing is logged; all is returned in Outcomes
// and counted.
package relay
