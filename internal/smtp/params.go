package smtp

// Body is the BODY parameter of MAIL (RFC 6152, RFC 3030). Zero is 7BIT.
type Body uint8

// The values of Body.
const (
	Body7Bit Body = iota
	Body8BitMIME
	BodyBinaryMIME
)

// Ret is the RET parameter of MAIL (RFC 3461 section 4.3). Zero is not given.
type Ret uint8

// The values of Ret.
const (
	RetUnset Ret = iota
	RetFull
	RetHdrs
)

// Notify is the NOTIFY parameter of RCPT (RFC 3461 section 4.1), a set of
// bits. Zero is not given, which means failure (and possibly delay).
type Notify uint8

// The bits of Notify. NotifyNever excludes the others.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// MailParams are the parameters of a MAIL command that the server knows.
type MailParams struct {
	Size     int64 // octets, 0: not declared (RFC 1870)
	Body     Body
	SMTPUTF8 bool
	Ret      Ret
	EnvID    string // decoded from xtext, at most 100 octets
	Auth     string // AUTH= of RFC 4954 section 5, decoded; "" when absent
}

// RcptParams are the parameters of a RCPT command that the server knows.
type RcptParams struct {
	Notify Notify
	ORcpt  string // original recipient, "rfc822;user@example.org", decoded
}
