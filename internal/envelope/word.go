package envelope

// String returns the kind's word: "inbound", "trusted", "submitted", "report".
func (k Kind) String() string {
	switch k {
	case Inbound:
		return "inbound"
	case Trusted:
		return "trusted"
	case Submitted:
		return "submitted"
	case Report:
		return "report"
	}
	return "unknown"
}

// String returns the state's word, as docs/HOUSE.md's ledger has it.
func (s State) String() string {
	switch s {
	case Queued:
		return "queued"
	case Held:
		return "held"
	case Delivered:
		return "delivered"
	case Bounced:
		return "bounced"
	case DSNSuppressed:
		return "dsn-suppressed"
	case Discarded:
		return "discarded"
	case Deleted:
		return "deleted"
	}
	return "unknown"
}
