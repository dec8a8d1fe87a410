package smtp

// EnhancedCode is a status code of RFC 3463: class, subject, detail. The zero
// value means that the reply carries none.
type EnhancedCode struct {
	Class, Subject, Detail uint16
}

// Reply is one SMTP reply. Code is the three digits; Text holds one entry per
// line, without code, enhanced code or CRLF. The zero value is no reply.
//
// A Reply received from a peer keeps the peer's words verbatim.
type Reply struct {
	Code     int
	Enhanced EnhancedCode
	Text     []string
	// Close says that the server closes the connection after this reply.
	Close bool
}

// IsZero reports whether r is no reply at all.
func (r Reply) IsZero() bool { return r.Code == 0 }

// Positive reports whether r is a 2yz reply.
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Temporary reports whether r is a 4yz reply.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent reports whether r is a 5yz reply.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }
