package envelope

// Advice is what an attempt says should become of one recipient. It is advice
// to the queue, which alone knows age, expiry and backoff.
type Advice uint8

// The advices. They live in memory only. The zero value is no advice and must
// not be acted on.
const (
	// AdviceDelivered: the next hop said 2yz to end-of-data and to this
	// recipient. It is final.
	AdviceDelivered Advice = 1 + iota
	// AdviceDefer: try again later. All our own doubts end here.
	AdviceDefer
	// AdviceFail: the next hop, or the domain's own DNS, said that this
	// recipient will never be taken.
	AdviceFail
)

// String returns the word for people and for metric labels.
func (a Advice) String() string {
	switch a {
	case AdviceDelivered:
		return "delivered"
	case AdviceDefer:
		return "defer"
	case AdviceFail:
		return "fail"
	}
	return "none"
}

// Outcome is what one attempt came to for one recipient. A transport returns
// exactly one Outcome for every recipient that it was handed.
type Outcome struct {
	// Recipient is the index into Envelope.Forward.
	Recipient int
	Verdict   Advice
	// Attempt is what was tried and what the peer said. It is always filled
	// in; its Cause is cause.None exactly when Verdict is AdviceDelivered.
	Attempt Attempt
	// SiteDown says that the trouble is the whole next hop's, not this
	// message's: other messages to the same next hop would meet the same now.
	SiteDown bool
	// Relayed says that the recipient was delivered to a peer that does not
	// speak DSN while a success report was asked for, so that a "relayed"
	// report is due (RFC 3461 section 5.2.2).
	Relayed bool
}
