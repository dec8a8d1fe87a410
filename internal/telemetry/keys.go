package telemetry

// The attribute keys of every log line. A key has one meaning everywhere; a
// new one is added here first.
const (
	KeySession     = "session"      // the session's number, unique in the process
	KeyID          = "id"           // a message's ID
	KeyParent      = "parent"       // the ID of the message that a DSN is about
	KeyTenant      = "tenant"       // a tenant's ID
	KeyReversePath = "reverse_path" // RFC 5321 reverse-path, without brackets
	KeyForwardPath = "forward_path" // RFC 5321 forward-path, without brackets
	KeyRecipients  = "recipients"   // how many forward-paths
	KeyNextHop     = "next_hop"     // a next hop's key, as configured
	KeyHost        = "host"         // an MX host's name
	KeyDomain      = "domain"       // a domain in its match form
	KeyListener    = "listener"     // a listener's configured name
	KeyPeer        = "peer"         // address and port of the other side
	KeyAddress     = "address"      // an address of our own side
	KeyHello       = "hello"        // what the peer called itself
	KeyUser        = "user"         // an authenticated identity
	KeyProtocol    = "protocol"     // RFC 3848 word
	KeyTLS         = "tls"          // TLS version and cipher suite
	KeyPhase       = "phase"        // where in the dialogue: greeting, hello, mail, rcpt, data, ...
	KeyCode        = "code"         // three-digit reply code
	KeyEnhanced    = "enhanced"     // RFC 3463 enhanced code
	KeyReply       = "reply"        // a peer's words
	KeyCause       = "cause"        // a word of package cause
	KeyDisposition = "disposition"  // a terminal state
	KeyState       = "state"        // any state
	KeyAttempt     = "attempt"      // number of the try, from 1
	KeyNextAttempt = "next_attempt" // when it is tried again, UTC
	KeyDurationMS  = "duration_ms"  // milliseconds
	KeyOctets      = "octets"       // a size
	KeyCount       = "count"        // a number of things
	KeyLimit       = "limit"        // a bound's name, or its maximum
	KeyFile        = "file"         // a file's name
	KeySegment     = "segment"      // a spool segment's number
	KeyBatch       = "batch"        // a spool batch's number
	KeyOffset      = "offset"       // octets from a file's start
	KeyIncarnation = "incarnation"  // a data directory's incarnation
	KeyRevision    = "revision"     // of the configuration
	KeyVersion     = "version"      // of the program
	KeySignal      = "signal"       // an operating system signal
	KeyReason      = "reason"       // our own words, one of a closed set
	KeyError       = "error"        // an error's text
	KeyMetric      = "metric"       // a metric's name
	KeyPanic       = "panic"        // what was recovered
	KeyStack       = "stack"        // where it was recovered
)
