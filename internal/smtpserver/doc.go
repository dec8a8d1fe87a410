// Package smtpserver speaks the server's half of SMTP: RFC 5321 with
// PIPELINING (2920), SIZE (1870), 8BITMIME (6152), SMTPUTF8 (6531),
// ENHANCEDSTATUSCODES (2034), DSN (3461), CHUNKING (3030), STARTTLS (3207),
// AUTH PLAIN and LOGIN on submission listeners (4954, 6409), LIMITS (9422),
// and, where a listener is told so, the PROXY protocol and XCLIENT. It knows
// the grammar, the order of things, framing, deadlines and bounds. What may be
// sent by whom to whom it asks a Handler.
//
// What it promises:
//
//   - Content ends where RFC 5321 section 4.1.1.4 says and nowhere else
//     (package smtpwire). After any error inside content the connection
//     closes: no octet that may be content is ever read as a command. The same
//     holds after a DATA that is refused while its content is on the way, and
//     after a BDAT whose size can't be read.
//   - A positive reply to the end of content is said only after Commit
//     returned one. Commit's context does not end with the connection.
//   - Each Content gets exactly one of Commit and Abort; each Session gets
//     Close, once, last; also after a panic.
//   - Replies to a pipelined group leave in one write, when nothing more is
//     there to be read.
//   - Every wait has a deadline: RFC 5321 section 4.5.3.2 per phase, a minimum
//     rate inside content, a total for the session.
//   - A client whose octets are there before the greeting hears 554 5.5.0
//     instead of it, behind a PROXY header too.
//   - What is advertised by EHLO is what holds for this listener, in this
//     state: SIZE, LIMITS, AUTH and STARTTLS are true.
//
// What it never does: decide about mail, keep content, resolve names, or say a
// reply that is not in the catalogue of package smtp or the Handler's own.
//
// # States
//
//	state     means                        EHLO HELO  MAIL  RCPT    DATA  BDAT       RSET  STARTTLS AUTH
//	fresh     no EHLO since connect,       greeted    503   503     503   drop, 503  fresh fresh    503
//	          STARTTLS or XCLIENT
//	greeted   no transaction               greeted    mailed 503    503   drop, 503  same  fresh    same
//	mailed    MAIL accepted                greeted    503   rcpted  503   drop, 503  greeted 503    503
//	                                                                or 554 or 554
//	rcpted    a RCPT accepted              greeted    503   rcpted  commit chunked   greeted 503    503
//	                                                                -> greeted
//	chunked   BDAT has begun               greeted    503   503     503   LAST:      greeted 503    503
//	                                                                      -> greeted
//
// NOOP, HELP, QUIT come at any time, VRFY after EHLO. "drop" means that the
// chunk's octets are read and thrown away before the reply, as RFC 3030
// section 2 asks. The table in code is verbTable.
//
// # Bounds
//
//	what                        bound                     said when it is reached
//	connections of a server     MaxConnections            421 4.3.2, closes
//	connections of a peer       Config.Admit              421 4.7.0, closes
//	command line                512, or 2,048 octets      500 5.5.2; beyond 2,048 it closes
//	line of content             MaxContentLine            554 5.6.0, closes
//	content                     MaxContentOctets          552 5.3.4, closes
//	recipients of a message     MaxRecipients             452 4.5.3
//	refused recipients          MaxRefusedRecipients      452 4.5.3 without asking
//	messages of a connection    MaxMessages               421 4.5.3, closes
//	5yz replies in a row        MaxErrors                 421 4.7.0, closes
//	commands without a message  MaxVerbs                  421 4.7.0, closes
//	failed AUTH                 MaxAuthFailures           421 4.7.0, closes
//	waiting                     Deadlines, MinRate        421 4.4.2, closes
//	draining                    Shutdown's context        421 4.3.2, closes
//	reading after the last word Deadlines.Linger, 64 MiB  nothing
//
// A line of content longer than the 1,000 octets of RFC 5321 section
// 4.5.3.1.6 is accepted, up to MaxContentLine: mail with HTML on one line is
// common, and whoever relays it takes it. Cutting such a line would break its
// signature. The bound of 1 MiB (chosen) is for those behind us who read by
// lines.
//
// # Memory
//
// An idle session holds its goroutine, a command buffer of 2 KiB and up to 512
// octets of replies: 8.1 KiB of heap and stack measured with 2,000 of them,
// 18.6 KiB under TLS (TestAnIdle...). While content flows it holds another 32
// KiB from a pool, so MaxConnections bounds that too.
//
// # Failures
//
//	what                               becomes
//	a listener's Accept, temporary     logged (warn), tried again
//	a listener's Accept, other         returned by Serve
//	client gone, TLS handshake failed  that session's end; logged (debug, info)
//	an error of Content.Write          Abort, the error's reply or 451 4.3.0, closes
//	a panic of the Handler             logged (error), counted, 421 4.3.0, that session's end
//
// Nothing here is fatal to the process.
package smtpserver
