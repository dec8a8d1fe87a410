// Package smtpclient is the client's half of SMTP: it opens a connection, says
// EHLO, turns TLS on where it is offered, and carries transactions over it.
//
// It promises:
//
//   - Send's Result holds the peer's words verbatim, one reply for each command
//     and recipient that was answered. A refusal is not an error: an *Error
//     means that the dialogue broke or could not begin.
//   - Error.AfterData is true when the peer may hold the whole message although
//     no reply to it was read. Nothing else may be a duplicate when it is sent
//     again.
//   - Content that could not be read to its end is never ended with a dot.
//   - What is sent with DATA holds no bare CR or LF and no line that could be
//     taken for the end (smtpwire.Encoder).
//   - Every wait has a deadline: per phase as RFC 5321 section 4.5.3.2 has them,
//     a least rate for content, and the caller's context for the whole. One
//     octet at a time moves none of them.
//   - A connection on which anything broke, or was said out of turn, is never
//     Reusable.
//
// It never chooses a host, never decides what an error means for the mail, and
// never checks a certificate unless TLSPolicy.Verify asks for it (facts about
// the certificate are recorded always).
//
// States of a Conn:
//
//	state        what is there                        leaves by
//	idle         greeting and hello are done          Send, Quit, Close
//	transaction  MAIL was written                     the reply to end-of-data: idle
//	dirty        a transaction ended before its       RSET in front of the next MAIL,
//	             content                              or Reset: idle
//	closing      the peer said 421                    Close
//	broken       an *Error was returned               Close
//
// How a message goes, and in how many round trips after EHLO:
//
//	peer offers              written at once                    round trips
//	PIPELINING               MAIL RCPT* DATA | content .        2
//	CHUNKING only            MAIL | RCPT | ... | BDAT content   2 + recipients
//	neither                  MAIL | RCPT | ... | DATA | content 3 + recipients
//	both, ChunkingOneWrite   MAIL RCPT* BDAT content            1
//
// Why BDAT is not used by default where both are offered: to be safe it must
// wait for the replies to RCPT, and then it costs as many round trips as DATA.
// Written together with them it saves one, but a peer that refuses BDAT without
// swallowing its octets would run a stranger's content as commands, a reply too
// many is not seen (DATA has its own code, 354), and a connection that drops
// early leaves a possible duplicate. ChunkingOneWrite is for next hops that an
// operator knows.
//
// Failures: all are returned as *Error, nothing is logged, nothing is fatal.
//
//	Kind            when
//	Refused         greeting, hello or STARTTLS refused; 421 in the middle
//	Unreachable     no connection
//	Timeout         a phase's deadline
//	Slow            content went slower than MinRate, or the context's deadline passed
//	Closed          the peer closed or reset
//	Protocol        no SMTP reply, an impossible code, a reply out of turn
//	TLSFailed       handshake failed and policy forbids plain text
//	TLSMissing      policy asks for TLS and the peer has none
//	TLSCertificate  TLSPolicy.Verify said no
//	Need8BitMIME    content has octets above 127, the peer lacks 8BITMIME
//	NeedSMTPUTF8    a path, or a header that came with SMTPUTF8, needs it and the peer lacks it
//	TooLarge        larger than the peer's SIZE
//	Local           our content could not be read
//	Cancelled       the caller's context ended
package smtpclient
