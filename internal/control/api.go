package control

import "time"

// Protocol is the version of what is said over the socket. A client refuses a
// node of another one, naming both builds.
const Protocol = 1

// The calls. Each constant names the path below /v1/ and, in its comment, the
// request and reply types. "stream" is a sequence of items (HandleStream).
const (
	// CallHello: no request, Hello.
	CallHello = "hello"
	// CallHealth: no request, Health.
	CallHealth = "health"
	// CallStop: StopRequest, StopReply. The reply comes before the stop.
	CallStop = "stop"
	// CallReload: no request, ReloadReply.
	CallReload = "reload"
	// CallTrace: TraceRequest, TraceReply.
	CallTrace = "trace"
	// CallQueueList: QueueListRequest, stream of QueueItem.
	CallQueueList = "queue/list"
	// CallQueueSummary: no request, QueueSummary.
	CallQueueSummary = "queue/summary"
	// CallAudit: no request, AuditReport.
	CallAudit = "audit"
	// CallDemoInbox: InboxRequest, stream of InboxMessage. Only with --demo.
	CallDemoInbox = "demo/inbox"
)

// None is the request of a call that needs no words.
type None struct{}

// Hello says who answers.
type Hello struct {
	Protocol int       `json:"protocol"`
	Version  string    `json:"version"` // of the build
	PID      int       `json:"pid"`
	Hostname string    `json:"hostname"`
	Started  time.Time `json:"started"`
	Demo     bool      `json:"demo,omitempty"`
}

// Health is what /healthz and /readyz know, in words.
type Health struct {
	Ready    bool          `json:"ready"`
	Checks   []HealthCheck `json:"checks"`
	Uptime   float64       `json:"uptime_seconds"`
	Revision string        `json:"tenants_revision"`
}

// HealthCheck is one thing that must hold.
type HealthCheck struct {
	Name   string `json:"name"` // "spool", "disk", "listener smtp", ...
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// StopRequest asks the node to stop: doors first, then drain.
type StopRequest struct {
	DrainSeconds float64 `json:"drain_seconds,omitempty"` // 0: the node's default
}

// StopReply says that stopping has begun.
type StopReply struct {
	PID int `json:"pid"`
}

// ReloadReply says which tenants are in force now.
type ReloadReply struct {
	File     string `json:"file"`
	Before   string `json:"before"` // revision, "" when there was none
	Revision string `json:"revision"`
	Tenants  int    `json:"tenants"`
	Domains  int    `json:"domains"`
	Users    int    `json:"users"`
	// Notes names what else was read again (TLS certificate) or what needs a
	// restart.
	Notes []string `json:"notes,omitempty"`
}

// TraceRequest looks for messages. Query is an ID, a unique suffix of one of
// at least 8 characters, or an address (with "@") of a reverse- or
// forward-path.
type TraceRequest struct {
	Query string    `json:"query"`
	Since time.Time `json:"since,omitzero"`  // by address: none older
	Limit int       `json:"limit,omitempty"` // by address: 0 is 50; at most 1000
}

// TraceReply holds Message when Query named one, else Matches, newest first.
type TraceReply struct {
	Message *Message         `json:"message,omitempty"`
	Matches []MessageSummary `json:"matches,omitempty"`
	// More says that Limit cut the list.
	More bool `json:"more,omitempty"`
}

// MessageSummary is one line of a search by address.
type MessageSummary struct {
	ID         string    `json:"id"`
	Time       time.Time `json:"time"`
	Tenant     string    `json:"tenant,omitempty"`
	Reverse    string    `json:"reverse_path"` // "" is the null reverse-path
	Recipients []string  `json:"forward_paths"`
	Total      int       `json:"recipients"` // Recipients may be cut at 10
	State      string    `json:"state"`      // the words of Recipient.State, or "mixed"
	Size       int64     `json:"size"`
}

// Message is all that is known of one message but its content.
type Message struct {
	ID         string      `json:"id"`
	Tenant     string      `json:"tenant,omitempty"`
	Region     string      `json:"region,omitempty"`
	Kind       string      `json:"kind"`             // inbound, trusted, submitted, report
	Parent     string      `json:"parent,omitempty"` // the message a DSN is about
	Reverse    string      `json:"reverse_path"`
	Size       int64       `json:"size"` // octets of content as stored
	Hops       int         `json:"hops"`
	EnvID      string      `json:"envid,omitempty"`
	Arrival    *Arrival    `json:"arrival,omitempty"` // nil for generated mail
	Recipients []Recipient `json:"recipients"`
	Events     []Event     `json:"events"` // in the order in which they happened
	// Damage names what can't be read any more, "" when all is well.
	Damage string `json:"damage,omitempty"`
}

// Arrival holds the facts of the session that brought a message.
type Arrival struct {
	Time     time.Time `json:"time"`
	Client   string    `json:"client"` // address:port
	Server   string    `json:"server"`
	Listener string    `json:"listener"`
	Hello    string    `json:"hello"`
	Protocol string    `json:"protocol"` // RFC 3848
	TLS      string    `json:"tls,omitempty"`
	User     string    `json:"user,omitempty"`
}

// Recipient is one forward-path and where it stands.
type Recipient struct {
	Path        string    `json:"forward_path"`
	State       string    `json:"state"` // queued, held, delivered, bounced, dsn-suppressed, discarded, deleted
	Attempts    int       `json:"attempts"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	NextHop     string    `json:"next_hop,omitempty"`
	Cause       string    `json:"cause,omitempty"`
	Report      string    `json:"report,omitempty"` // the DSN's ID
}

// Event is one thing that happened to a message.
type Event struct {
	Time    time.Time `json:"time"`
	What    string    `json:"what"` // accepted, attempt, deferred, delivered, bounced, ...
	Forward []string  `json:"forward_paths,omitempty"`
	State   string    `json:"state,omitempty"`
	Cause   string    `json:"cause,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	Attempt *Attempt  `json:"attempt,omitempty"`
}

// Attempt is one try, with the peer's words.
type Attempt struct {
	Time       time.Time `json:"time"`
	DurationMS float64   `json:"duration_ms"`
	NextHop    string    `json:"next_hop"`
	Host       string    `json:"host,omitempty"`
	Peer       string    `json:"peer,omitempty"` // address:port
	TLS        string    `json:"tls,omitempty"`
	Cause      string    `json:"cause,omitempty"` // "" when delivered
	Code       int       `json:"code,omitempty"`
	Reply      []string  `json:"reply,omitempty"`  // lines as received, verbatim
	Detail     string    `json:"detail,omitempty"` // our words when the peer had none
}

// QueueListRequest chooses what is listed. Empty fields choose all.
type QueueListRequest struct {
	Tenant  string `json:"tenant,omitempty"`
	NextHop string `json:"next_hop,omitempty"`
	Domain  string `json:"domain,omitempty"`
	Limit   int    `json:"limit,omitempty"` // 0 is no limit
}

// QueueItem is one message that waits, or the part of it for one next hop.
type QueueItem struct {
	ID          string    `json:"id"`
	Tenant      string    `json:"tenant,omitempty"`
	Reverse     string    `json:"reverse_path"`
	Recipients  []string  `json:"forward_paths"`
	NextHop     string    `json:"next_hop"`
	State       string    `json:"state"` // waiting, ready, active, held
	Size        int64     `json:"size"`
	Arrived     time.Time `json:"arrived"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	Attempts    int       `json:"attempts"`
	Cause       string    `json:"cause,omitempty"`
	LastReply   string    `json:"last_reply,omitempty"`
}

// QueueSummary counts what waits, by next hop; those with most first.
type QueueSummary struct {
	Time     time.Time    `json:"time"`
	Messages int          `json:"messages"`
	Waiting  int          `json:"waiting"`
	Ready    int          `json:"ready"`
	Active   int          `json:"active"`
	Held     int          `json:"held"`
	Oldest   time.Time    `json:"oldest,omitzero"` // arrival of the oldest
	Hops     []HopSummary `json:"next_hops"`
	Octets   int64        `json:"octets"`
}

// HopSummary is one next hop's share of the queue.
type HopSummary struct {
	NextHop string    `json:"next_hop"`
	Waiting int       `json:"waiting"`
	Ready   int       `json:"ready"`
	Active  int       `json:"active"`
	Oldest  time.Time `json:"oldest,omitzero"`
	Next    time.Time `json:"next_attempt,omitzero"`
	Cause   string    `json:"cause,omitempty"` // the most frequent
	// LastReply is the peer's last negative reply, one line.
	LastReply string `json:"last_reply,omitempty"`
}

// AuditReport is the ledger, recomputed. The offline audit of a copied data
// directory fills the same words.
type AuditReport struct {
	Balanced bool           `json:"balanced"`
	Where    string         `json:"where"` // "online" or the directory audited
	Tenants  []TenantLedger `json:"tenants"`
	Problems []AuditProblem `json:"problems"`
	Messages int64          `json:"messages"` // looked at
	Octets   int64          `json:"octets"`   // read
	Seconds  float64        `json:"seconds"`
}

// TenantLedger counts recipients. Sources = Terminal + Held when it balances.
type TenantLedger struct {
	Tenant        string `json:"tenant"` // "" is the node's own mail
	Accepted      int64  `json:"accepted"`
	Generated     int64  `json:"generated"`
	Delivered     int64  `json:"delivered"`
	Bounced       int64  `json:"bounced"`
	DSNSuppressed int64  `json:"dsn_suppressed"`
	Discarded     int64  `json:"discarded"`
	Deleted       int64  `json:"deleted"`
	Held          int64  `json:"held"` // live in the spool, queued ones included
	// Lost is what the spool itself knows and has named as lost to damage.
	Lost int64 `json:"lost"`
}

// Difference is sources less terminal, held and what is known to be lost; 0
// when it balances.
func (l TenantLedger) Difference() int64 {
	return l.Accepted + l.Generated - l.Delivered - l.Bounced - l.DSNSuppressed - l.Discarded - l.Deleted - l.Held - l.Lost
}

// AuditProblem is one difference or damage, named.
type AuditProblem struct {
	What   string `json:"what"` // damaged, missing, unbalanced, ...
	ID     string `json:"id,omitempty"`
	Tenant string `json:"tenant,omitempty"`
	Path   string `json:"forward_path,omitempty"`
	Where  string `json:"where,omitempty"` // file and offset
	Detail string `json:"detail"`
}

// InboxRequest chooses what of the demo's sample customer server is shown.
type InboxRequest struct {
	Limit   int  `json:"limit,omitempty"`   // newest so many; 0 is 20
	Content bool `json:"content,omitempty"` // with the content itself
}

// InboxMessage is one message that the sample customer's server got.
type InboxMessage struct {
	Number     int       `json:"number"` // counted from 1 since the node started
	Time       time.Time `json:"time"`
	ID         string    `json:"id,omitempty"` // Postern's, from its Received field
	Reverse    string    `json:"reverse_path"`
	Recipients []string  `json:"forward_paths"`
	Subject    string    `json:"subject"`
	From       string    `json:"from"`
	Size       int64     `json:"size"`
	TLS        string    `json:"tls,omitempty"`
	Content    string    `json:"content,omitempty"`
}
