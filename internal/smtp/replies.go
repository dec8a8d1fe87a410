package smtp

// This file is the catalogue: every reply that Postern says. A reply shows no
// path, host of ours but the greeting's name, user, filter or rule.

// reply makes a catalogue entry.
func reply(code int, class, subject, detail uint16, text string) Reply {
	return Reply{Code: code, Enhanced: EnhancedCode{class, subject, detail}, Text: []string{text}}
}

// closing makes a catalogue entry after which the connection is closed.
func closing(code int, class, subject, detail uint16, text string) Reply {
	r := reply(code, class, subject, detail, text)
	r.Close = true
	return r
}

// Session.

// Greeting is the 220 that opens a session (RFC 5321 section 3.1).
func Greeting(hostname string) Reply {
	return reply(220, 0, 0, 0, hostname+" ESMTP Postern")
}

// Bye answers QUIT.
func Bye(hostname string) Reply {
	return closing(221, 2, 0, 0, hostname+" closing connection")
}

// OK answers RSET, NOOP and what has nothing more to say.
func OK() Reply {
	return reply(250, 2, 0, 0, "OK")
}

// HelpText answers HELP.
func HelpText() Reply {
	return reply(214, 2, 0, 0, "RFC 5321 is spoken here; postmaster is reached by mail")
}

// CannotVerify answers VRFY (RFC 5321 section 7.3).
func CannotVerify() Reply {
	return reply(252, 2, 1, 5, "Not verified here; send mail and see")
}

// ShuttingDown is said to sessions when the server stops.
func ShuttingDown(hostname string) Reply {
	return closing(421, 4, 3, 2, hostname+" is shutting down; try again later")
}

// TooBusy refuses a connection because the total is reached.
func TooBusy() Reply {
	return closing(421, 4, 3, 2, "Too many connections here; try again later")
}

// TooManyFromPeer refuses a connection because its peer network has its share.
func TooManyFromPeer() Reply {
	return closing(421, 4, 7, 0, "Too many connections from your network; try again later")
}

// NoService refuses a connection for good (RFC 5321 section 3.1).
func NoService() Reply {
	return closing(554, 5, 7, 1, "No SMTP service for you here")
}

// EarlyTalk refuses a client that talks before the greeting (RFC 5321 section 4.3.1).
func EarlyTalk() Reply {
	return closing(554, 5, 5, 0, "You spoke before the greeting")
}

// InternalError is said when a session can't go on through our fault.
func InternalError() Reply {
	return closing(421, 4, 3, 0, "Internal error; try again later")
}

// TimedOut is said when a phase's deadline passed (RFC 5321 section 4.5.3.2).
func TimedOut() Reply {
	return closing(421, 4, 4, 2, "Nothing heard for too long; closing")
}

// TooSlow is said when content misses the minimum rate.
func TooSlow() Reply {
	return closing(421, 4, 4, 2, "Content came too slowly; closing")
}

// SessionTooLong is said when the session's total is over.
func SessionTooLong() Reply {
	return closing(421, 4, 4, 2, "This session lasted too long; reconnect")
}

// TooManyErrors is said when a client made more errors than are allowed.
func TooManyErrors() Reply {
	return closing(421, 4, 7, 0, "Too many errors; closing")
}

// TooManyCommands is said when a client talks on and sends no mail.
func TooManyCommands() Reply {
	return closing(421, 4, 7, 0, "Too many commands without a message; closing")
}

// TooManyMessages answers MAIL beyond MAILMAX (RFC 9422 section 4).
func TooManyMessages() Reply {
	return closing(421, 4, 5, 3, "Too many messages on this connection; reconnect")
}

// Syntax and sequence.

// UnknownVerb answers a verb that is no verb of SMTP.
func UnknownVerb() Reply {
	return reply(500, 5, 5, 1, "Unknown command")
}

// LineTooLong answers a command line beyond its bound (RFC 5321 section 4.5.3.1.4).
func LineTooLong() Reply {
	return reply(500, 5, 5, 2, "Command line too long")
}

// BadOctets answers a command with control characters.
func BadOctets() Reply {
	return reply(500, 5, 5, 2, "Control characters have no place in a command")
}

// BareNewline refuses CR without LF or LF without CR and closes.
func BareNewline() Reply {
	return closing(521, 5, 5, 2, "Bare CR or LF received: lines end with CRLF (RFC 5321 section 2.3.8)")
}

// NotHTTP answers the verbs of other protocols, which browsers are led to send.
func NotHTTP() Reply {
	return closing(502, 5, 7, 0, "This is SMTP; closing")
}

// BadSyntax answers a command whose shape is wrong.
func BadSyntax() Reply {
	return reply(501, 5, 5, 2, "Syntax error")
}

// BadArgument answers a command with a wrong argument.
func BadArgument() Reply {
	return reply(501, 5, 5, 4, "Argument missing, not wanted or malformed")
}

// BadPath answers MAIL with a malformed path.
func BadPath() Reply {
	return reply(501, 5, 1, 7, "Malformed reverse-path")
}

// BadForwardPath answers RCPT with a malformed path.
func BadForwardPath() Reply {
	return reply(501, 5, 1, 3, "Malformed forward-path")
}

// BadParameter answers a parameter whose value is malformed.
func BadParameter() Reply {
	return reply(501, 5, 5, 4, "Malformed parameter")
}

// UnknownParameter answers a parameter that was not offered (RFC 5321 section 4.1.1.11).
func UnknownParameter() Reply {
	return reply(555, 5, 5, 4, "Parameter not known here")
}

// NotImplemented answers a verb that is known and not offered.
func NotImplemented() Reply {
	return reply(502, 5, 5, 1, "Command not implemented")
}

// HelloFirst answers a command before EHLO or HELO.
func HelloFirst() Reply {
	return reply(503, 5, 5, 1, "Say EHLO first")
}

// MailFirst answers RCPT, DATA or BDAT without MAIL.
func MailFirst() Reply {
	return reply(503, 5, 5, 1, "Say MAIL first")
}

// NestedMail answers MAIL inside a transaction.
func NestedMail() Reply {
	return reply(503, 5, 5, 1, "A transaction is open already")
}

// RcptFirst answers DATA or BDAT without any RCPT.
func RcptFirst() Reply {
	return reply(503, 5, 5, 1, "Say RCPT first")
}

// BadSequence answers any other command out of turn.
func BadSequence() Reply {
	return reply(503, 5, 5, 1, "Not now")
}

// NoValidRecipients answers DATA or BDAT when every RCPT was refused (RFC 5321 section 3.3).
func NoValidRecipients() Reply {
	return reply(554, 5, 5, 1, "No valid recipients")
}

// NoBinaryMIME answers MAIL with BODY=BINARYMIME.
func NoBinaryMIME() Reply {
	return reply(555, 5, 6, 1, "BODY=BINARYMIME is not offered here")
}

// NeedSMTPUTF8 answers a non-ASCII address without the parameter (RFC 6531 section 3.5).
func NeedSMTPUTF8() Reply {
	return reply(553, 5, 6, 7, "Address needs SMTPUTF8")
}

// TLS and AUTH.

// StartTLS answers STARTTLS (RFC 3207 section 4).
func StartTLS() Reply {
	return reply(220, 2, 0, 0, "Ready to start TLS")
}

// TLSFirst answers a command on a listener that requires TLS (RFC 3207 section 4).
func TLSFirst() Reply {
	return reply(530, 5, 7, 0, "Say STARTTLS first")
}

// TLSNotAvailable answers STARTTLS when there is no certificate (RFC 3207 section 4).
func TLSNotAvailable() Reply {
	return reply(454, 4, 7, 0, "TLS is not available now")
}

// TLSActive answers a second STARTTLS.
func TLSActive() Reply {
	return reply(503, 5, 5, 1, "TLS is active already")
}

// AuthOK answers AUTH that succeeded (RFC 4954 section 6).
func AuthOK() Reply {
	return reply(235, 2, 7, 0, "Authenticated")
}

// AuthFailed answers AUTH that did not (RFC 4954 section 6).
func AuthFailed() Reply {
	return reply(535, 5, 7, 8, "Authentication credentials invalid")
}

// AuthUnavailable answers AUTH when it can't be decided (RFC 4954 section 6).
func AuthUnavailable() Reply {
	return reply(454, 4, 7, 0, "Authentication can't be checked now; try again later")
}

// AuthRequired answers MAIL without AUTH on submission (RFC 4954 section 6).
func AuthRequired() Reply {
	return reply(530, 5, 7, 0, "Authentication required")
}

// AuthNeedsTLS answers AUTH outside TLS (RFC 4954 section 4).
func AuthNeedsTLS() Reply {
	return reply(538, 5, 7, 11, "Encryption required for authentication")
}

// AuthUnknownMechanism answers AUTH with another mechanism (RFC 4954 section 4).
func AuthUnknownMechanism() Reply {
	return reply(504, 5, 5, 4, "Authentication mechanism not known")
}

// AuthCancelled answers "*" (RFC 4954 section 4).
func AuthCancelled() Reply {
	return reply(501, 5, 7, 0, "Authentication cancelled")
}

// AuthMalformed answers a response that is not base64 or not of the mechanism's form.
func AuthMalformed() Reply {
	return reply(501, 5, 5, 2, "Can't decode the response")
}

// AuthLineTooLong answers a response beyond the bound (RFC 4954 section 6).
func AuthLineTooLong() Reply {
	return closing(500, 5, 5, 6, "Authentication exchange line too long")
}

// AuthAlready answers a second AUTH (RFC 4954 section 4).
func AuthAlready() Reply {
	return reply(503, 5, 5, 1, "Authenticated already")
}

// AuthTooManyFailures ends a session that guesses passwords.
func AuthTooManyFailures() Reply {
	return closing(421, 4, 7, 0, "Too many authentication failures; closing")
}

// XClientDenied answers XCLIENT from outside the configured ranges.
func XClientDenied() Reply {
	return reply(550, 5, 7, 0, "XCLIENT is not for you")
}

// Envelope.

// MailOK answers MAIL.
func MailOK() Reply {
	return reply(250, 2, 1, 0, "Reverse-path OK")
}

// RcptOK answers RCPT.
func RcptOK() Reply {
	return reply(250, 2, 1, 5, "Forward-path OK")
}

// TooLarge answers SIZE= or content beyond the bound (RFC 1870 section 6).
func TooLarge() Reply {
	return reply(552, 5, 3, 4, "Message is larger than is accepted here")
}

// TooManyRecipients answers RCPT beyond RCPTMAX (RFC 5321 section 4.5.3.1.10).
func TooManyRecipients() Reply {
	return reply(452, 4, 5, 3, "Too many recipients; send the rest in another transaction")
}

// NoSuchUser answers RCPT to an unknown user of a domain of ours.
func NoSuchUser() Reply {
	return reply(550, 5, 1, 1, "No such user here")
}

// RelayDenied answers RCPT to a domain that is not ours.
func RelayDenied() Reply {
	return reply(550, 5, 7, 1, "Relaying denied")
}

// SenderNotOwned answers MAIL with an address that is not the user's own.
func SenderNotOwned() Reply {
	return reply(553, 5, 7, 1, "This reverse-path is not yours to use")
}

// Content.

// StartContent answers DATA.
func StartContent() Reply {
	return reply(354, 0, 0, 0, "End with <CRLF>.<CRLF>")
}

// ChunkOK answers BDAT without LAST (RFC 3030 section 2).
func ChunkOK(octets string) Reply {
	return reply(250, 2, 0, 0, octets+" octets taken")
}

// Accepted answers end-of-data when the message is durable.
func Accepted(id string) Reply {
	return reply(250, 2, 0, 0, "OK: queued as "+id)
}

// NulOctet refuses NUL in content and closes.
func NulOctet() Reply {
	return closing(554, 5, 6, 0, "NUL octet in content")
}

// ContentLineTooLong refuses a line of content beyond the bound and closes (RFC 5321 section 4.5.3.1.6).
func ContentLineTooLong() Reply {
	return closing(554, 5, 6, 0, "Line in content too long")
}

// BadChunkSize answers BDAT whose size can't be read, and closes: its octets can't be told from commands.
func BadChunkSize() Reply {
	return closing(501, 5, 5, 4, "Chunk size malformed")
}

// Loop refuses content with too many Received fields (RFC 5321 section 6.3).
func Loop() Reply {
	return reply(554, 5, 4, 6, "Too many hops")
}

// NoStorage answers MAIL, DATA or end-of-data when there is no room.
func NoStorage() Reply {
	return reply(452, 4, 3, 1, "Insufficient system storage; try again later")
}

// LocalError answers when something here is in doubt.
func LocalError() Reply {
	return reply(451, 4, 3, 0, "Local error in processing; try again later")
}

// ContentRefused answers end-of-data when policy rejects the message.
func ContentRefused() Reply {
	return reply(554, 5, 7, 1, "Message refused")
}
