package smtp

// Error is what a parser of this package returns: what is wrong, in words for
// people, and the reply for the wire.
type Error struct {
	What  string
	reply Reply
}

// Error implements error.
func (e *Error) Error() string { return e.What }

// SMTPReply returns the reply for the wire. It is never zero.
func (e *Error) SMTPReply() Reply { return e.reply }

// pathError is refused as a reverse-path; ParseRcpt turns it into the
// forward-path's reply.
func pathError(what string) *Error { return &Error{What: what, reply: BadPath()} }

func paramError(what string) *Error { return &Error{What: what, reply: BadParameter()} }
