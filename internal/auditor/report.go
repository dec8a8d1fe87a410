package auditor

import (
	"time"

	"github.com/postern-mail/postern/internal/envelope"
)

// Report is what Audit found. Lists are cut at Options.Limit; the counts
// beside them are whole.
type Report struct {
	Dir          string        `json:"dir"`
	Sound        bool          `json:"sound"` // nothing is lost, missing, damaged or different
	Incarnations []Incarnation `json:"incarnations"`
	Ledger       []Tenant      `json:"ledger"`         // by tenant
	Since        time.Time     `json:"since,omitzero"` // the ledger counts from here; zero: not known
	Restarted    bool          `json:"restarted"`      // the ledger was restarted: older sums are unknown

	Counts      Counts       `json:"counts"`
	Live        []Message    `json:"live"`
	Lost        []Message    `json:"lost"` // accepted, neither terminal nor live
	Damage      []Damage     `json:"damage"`
	Torn        []Damage     `json:"torn"` // never acknowledged, or abandoned: no loss
	Drafts      []Draft      `json:"drafts"`
	Differences []Difference `json:"differences"`

	limit int
}

// Counts are the whole numbers behind the lists of a Report.
type Counts struct {
	Live           int64 `json:"live"` // messages
	LiveRecipients int64 `json:"live_recipients"`
	Lost           int64 `json:"lost"`            // messages
	LostRecipients int64 `json:"lost_recipients"` // named as lost by this audit
	Damage         int64 `json:"damage"`
	NewDamage      int64 `json:"new_damage"` // not among the scars that the spool knows
	Torn           int64 `json:"torn"`
	Drafts         int64 `json:"drafts"`
	Differences    int64 `json:"differences"`
	Batches        int64 `json:"batches"`
	Records        int64 `json:"records"`
	Events         int64 `json:"events"`
}

// Incarnation is one directory of the spool.
type Incarnation struct {
	Name       string `json:"name"`
	Dir        string `json:"dir"` // relative to the audited directory
	Adopted    bool   `json:"adopted"`
	Segments   int    `json:"segments"`
	EventFiles int    `json:"event_files"`
	Checkpoint uint64 `json:"checkpoint"` // number of the one used; 0: none was whole
	Synced     uint64 `json:"synced"`     // highest batch known to be synced
	Batch      uint64 `json:"batch"`      // highest batch that counts
	Through    uint64 `json:"through"`    // main batch up to which the event log says it is complete
}

// Tenant is one line of the ledger. All numbers are recipients.
type Tenant struct {
	Tenant   string           `json:"tenant"`
	Sources  map[string]int64 `json:"sources"`
	Terminal map[string]int64 `json:"terminal"`
	Held     int64            `json:"held"`
	Lost     int64            `json:"lost"`    // the spool knows and has said so
	Missing  int64            `json:"missing"` // sources - terminal - held - lost: must be 0
}

// Message is a message that is live or lost.
type Message struct {
	ID         envelope.ID `json:"id"`
	Tenant     string      `json:"tenant"`
	Kind       string      `json:"kind,omitempty"`
	Reverse    string      `json:"reverse_path"`
	Arrival    time.Time   `json:"arrival,omitzero"`
	Octets     int64       `json:"octets"`
	Recipients []Recipient `json:"recipients"` // live: all; lost: those that are lost
	Where      string      `json:"where"`
	Why        string      `json:"why,omitempty"` // lost: how we know; live: what is wrong with it
}

// Recipient is one forward-path and where it stands.
type Recipient struct {
	Index       int       `json:"index"`
	Path        string    `json:"path"` // "@domain" when only the checkpoint knows it
	State       string    `json:"state"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
}

// Damage is a place in a file whose octets are not what was written.
type Damage struct {
	File   string      `json:"file"` // relative to the audited directory
	Offset int64       `json:"offset"`
	Octets int64       `json:"octets"`
	Batch  uint64      `json:"batch,omitempty"`
	Record string      `json:"record,omitempty"` // its type; "" for the batch or file as a whole
	ID     envelope.ID `json:"id,omitzero"`
	What   string      `json:"what"`
	Known  bool        `json:"known"` // the spool has it among its scars
	// Redundant says that a twin of what is damaged is good, so that nothing
	// is lost: a file's second header, a batch's other end.
	Redundant bool `json:"redundant"`
}

// Draft is a finding about a draft file.
type Draft struct {
	File string      `json:"file"`
	ID   envelope.ID `json:"id,omitzero"` // the live message that names it; zero for an orphan
	What string      `json:"what"`        // "missing", "damaged", "orphan"
}

// Difference is something on which two parts of the directory disagree.
type Difference struct {
	ID     envelope.ID `json:"id,omitzero"`
	Tenant string      `json:"tenant,omitempty"`
	What   string      `json:"what"`
}

// newReport makes a report whose lists are empty and not null in JSON.
func newReport(dir string, limit int) *Report {
	return &Report{
		Dir: dir, limit: limit, Incarnations: []Incarnation{}, Ledger: []Tenant{}, Live: []Message{}, Lost: []Message{},
		Damage: []Damage{}, Torn: []Damage{}, Drafts: []Draft{}, Differences: []Difference{},
	}
}

func (r *Report) damage(d Damage) {
	r.Counts.Damage++
	if !d.Known {
		r.Counts.NewDamage++
	}
	r.Damage = keep(r.Damage, d, r.limit)
}

func (r *Report) torn(d Damage) {
	r.Counts.Torn++
	r.Torn = keep(r.Torn, d, r.limit)
}

func (r *Report) draft(d Draft) {
	r.Counts.Drafts++
	r.Drafts = keep(r.Drafts, d, r.limit)
}

func (r *Report) differ(id envelope.ID, tenant, what string) {
	r.Counts.Differences++
	r.Differences = keep(r.Differences, Difference{ID: id, Tenant: tenant, What: what}, r.limit)
}

func (r *Report) live(m Message) {
	r.Counts.Live++
	r.Counts.LiveRecipients += int64(len(m.Recipients))
	r.Live = keep(r.Live, m, r.limit)
}

func (r *Report) lost(m Message) {
	r.Counts.Lost++
	r.Counts.LostRecipients += int64(len(m.Recipients))
	r.Lost = keep(r.Lost, m, r.limit)
}

func keep[T any](list []T, v T, limit int) []T {
	if limit >= 0 && len(list) >= limit {
		return list
	}
	return append(list, v)
}

// sound decides the one word that a person reads first. A torn tail and an
// orphaned draft are no fault: recovery clears both away.
func (r *Report) sound() bool {
	for _, t := range r.Ledger {
		if t.Missing != 0 {
			return false
		}
	}
	for _, d := range r.Drafts {
		if d.What != draftOrphan {
			return false
		}
	}
	return r.Counts.NewDamage == 0 && r.Counts.Lost == 0 && r.Counts.Differences == 0
}
