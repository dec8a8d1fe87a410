// Package smtp holds the words of SMTP: paths, domains, the parameters of
// MAIL and RCPT, replies and enhanced status codes, with their grammars of
// RFC 5321, 3461, 3463, 1870, 4954, 6531 and 6533. It does no I/O, keeps no
// state and knows nothing of policy.
//
// What it promises:
//
//   - A Path that was parsed here can be formatted again, and what is
//     formatted parses to the same Path.
//   - Nothing that comes out of a parser holds a control character, so that it
//     may be written to a log, a trace field or the wire without more care.
//   - Errors of parsers are of type *Error, which carries the reply for the
//     wire; the reply shows no path, host or rule name.
//
// What it never does: ask DNS, decide whose address it is, or change the case
// of an address that goes on to the next hop. Matching uses Path.Key, and only
// matching.
//
// # Departures that are made on purpose
//
//	what                                     why
//	local-part longer than 64 octets         VERP and SRS make reverse-paths of 65 to 120 octets in
//	                                         real mail; section 4.5.3.1 names 64 as what must work
//	                                         at least. The bound here is MaxLocalOctets.
//	"_" in a domain                          hosts named so send real mail; DNS carries it
//	brackets missing around a path           printers and scanners send them so; other MTAs take it
//	spaces between "FROM:" and the path      as above; forbidden by RFC 5321 section 3.3
//	local-parts compared without case        see Path.Key
//	source routes accepted and dropped       RFC 5321 section 4.1.1.3 and appendix C allow that
//
// Every one of them is marked at its line with "Departs from".
package smtp
