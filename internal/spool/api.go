package spool

import (
	"net/netip"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

// Entry is what the index knows of one live message.
type Entry struct {
	ID      envelope.ID
	Tenant  string
	Kind    envelope.Kind
	Arrival time.Time
	Size    int64 // octets of content
	// Earliest is the earliest NextAttempt of a queued recipient; zero when
	// none is queued.
	Earliest time.Time
	// Recipients has one element per forward-path. It is only good during the
	// call that yields the entry.
	Recipients []EntryRecipient
}

// EntryRecipient is one recipient of an Entry: where it stands, and its
// domain's key as smtp.DomainKey makes it ("" for a bare <postmaster>).
type EntryRecipient struct {
	envelope.Status
	Domain string
}

// RefusedEvent is mail that was refused in session after its content was read.
type RefusedEvent struct {
	Time     time.Time
	Tenant   string
	Client   netip.AddrPort
	Listener string
	Hello    string
	Reverse  smtp.Path
	Forward  []smtp.Path
	Size     int64
	Reply    smtp.Reply
}

// EventKind says what an Event tells.
type EventKind uint8

// The kinds of event.
const (
	EventAccepted EventKind = 1 + iota
	EventMoved
	EventFinished
	EventRefused
	EventLost // recovery found the message, or one recipient of it, destroyed
	EventShed // events older than this were given up to keep EventLogMax
)

// Event is one line of a message's story.
type Event struct {
	Kind EventKind
	ID   envelope.ID // zero for EventRefused and EventShed
	Time time.Time
	// Envelope is set for EventAccepted.
	Envelope *envelope.Envelope
	// Change is set for EventMoved and EventFinished.
	Change *envelope.Change
	// Refused is set for EventRefused.
	Refused *RefusedEvent
	// Recipient is the one that was lost, -1 for the whole message.
	Recipient int
	// Detail is set for EventLost and EventShed.
	Detail string
}

// Filter says which events are wanted. Zero fields do not narrow.
type Filter struct {
	ID      envelope.ID
	Address string    // a reverse- or forward-path as "local@domain", compared without case (ASCII)
	Since   time.Time // events before it are left out
	Limit   int       // messages when ID is zero; 0: 100
}

// Finding is one thing that recovery or audit found wrong.
type Finding struct {
	Kind FindingKind
	// ID is zero when it cannot be told which message was hurt.
	ID envelope.ID
	// Recipient is an index into Forward, -1 for the whole message.
	Recipient int
	Tenant    string
	Reverse   smtp.Path
	Forward   []smtp.Path // of the message, where the accept or the event log still tells
	Time      time.Time   // when the message was accepted; zero when unknown
	Segment   uint64
	Offset    int64
	Octets    int64
	Batch     uint64
	Holder    string // who held it last: "segment-00000012 at 8192", "next hop mx:example.org"
	Detail    string
	counted   bool // the ledger has it already
}

// FindingKind is the closed list of what can be wrong.
type FindingKind string

// The kinds of finding. Torn is no damage: it was never acknowledged.
const (
	Torn              FindingKind = "torn"               // a batch or group at the end that was never acknowledged
	LostMessage       FindingKind = "lost-message"       // accept destroyed, or everything
	LostContent       FindingKind = "lost-content"       // accept is good, its content is not
	LostChange        FindingKind = "lost-change"        // a move or finish destroyed: may be tried again
	UnknownRecord     FindingKind = "unknown-record"     // written by a newer build: the message is held
	NewerFormat       FindingKind = "newer-format"       // a file that asks for a newer reader
	BadSegment        FindingKind = "bad-segment"        // both header blocks destroyed
	MissingSegment    FindingKind = "missing-segment"    // a file of the sequence is gone
	MissingDraft      FindingKind = "missing-draft"      // a draft file is gone or has another size
	BadCheckpoint     FindingKind = "bad-checkpoint"     // fell back to the one before, or to a full scan
	BadEvents         FindingKind = "bad-events"         // events destroyed
	LedgerGap         FindingKind = "ledger-gap"         // the ledger counts only what the log still holds
	NotAdopted        FindingKind = "not-adopted"        // a foreign directory that could not be taken over
	StateDiffers      FindingKind = "state-differs"      // audit: index and log tell different states
	LedgerDiffers     FindingKind = "ledger-differs"     // audit: ledger and recount differ
	NotInEvents       FindingKind = "not-in-events"      // audit: live, but the event log has never heard of it
	LostSequenceLimit FindingKind = "lost-sequence-mark" // no mark of drawn IDs was left: a new incarnation was drawn
)

// Recovery is what Open found.
type Recovery struct {
	Incarnation envelope.Incarnation
	New         bool   // the incarnation was drawn by this Open
	Checkpoint  uint64 // number of the checkpoint that was used; 0: full scan
	Live        int    // messages
	Batches     int    // read from the log
	Octets      int64  // read from the log
	Torn        int    // batches and groups that were never acknowledged
	Duration    time.Duration
	Adopted     []envelope.Incarnation
	Findings    []Finding
	named       int // findings of the loader that are in Findings
}

// Hurt reports whether anything but unacknowledged mail is missing or doubtful.
func (r *Recovery) Hurt() bool {
	for i := range r.Findings {
		if r.Findings[i].Kind != Torn {
			return true
		}
	}
	return false
}

// TenantLedger counts the recipients of one tenant.
type TenantLedger struct {
	Sources  [5]int64 // by envelope.Kind; index 0 is unused
	Terminal [8]int64 // by envelope.State; only terminal states
	Live     int64    // queued in the spool
	Held     int64    // held in the spool
	Lost     int64    // destroyed on the disk and named
}

// Difference is sources less terminal, live, held and lost: 0 when balanced.
func (l *TenantLedger) Difference() int64 {
	var d int64
	for _, n := range l.Sources {
		d += n
	}
	for _, n := range l.Terminal {
		d -= n
	}
	return d - l.Live - l.Held - l.Lost
}

// Ledger is the count of recipients per tenant since Since.
type Ledger struct {
	Since   time.Time
	Gap     bool // a full scan without checkpoint restarted the sums
	Tenants map[string]*TenantLedger
}

// Total adds up all tenants.
func (l *Ledger) Total() TenantLedger {
	var t TenantLedger
	for _, x := range l.Tenants {
		t.add(x)
	}
	return t
}

func (l *TenantLedger) add(x *TenantLedger) {
	for i := range x.Sources {
		l.Sources[i] += x.Sources[i]
	}
	for i := range x.Terminal {
		l.Terminal[i] += x.Terminal[i]
	}
	l.Live += x.Live
	l.Held += x.Held
	l.Lost += x.Lost
}

// AuditReport is what Audit found.
type AuditReport struct {
	Time     time.Time
	Live     int   // messages
	Batches  int   // read
	Octets   int64 // read
	Events   int64 // read
	Ledger   Ledger
	Findings []Finding
	Known    int // places that are damaged and were named before (scars)
	Duration time.Duration
}
