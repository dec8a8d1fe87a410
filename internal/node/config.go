package node

import "path/filepath"

// Config is everything that one node is told. Tags: yaml is the key; default
// is the value when no source names the leaf; doc is for people; min and max
// bound numbers, sizes and durations (inclusive); words lists what is allowed;
// secret hides the value.
type Config struct {
	Hostname string `yaml:"hostname" doc:"Name of this node in greetings, EHLO and Received fields. Empty: the machine's name."`
	Data     string `yaml:"data" default:"./data" doc:"Data directory: spool, keys, control socket. Mode 0700. A relative path is relative to the working directory."`
	Tenants  string `yaml:"tenants" doc:"File of tenants, read at start and on reload. Empty: tenants.yaml in the data directory."`

	Listen Listen `yaml:"listen" doc:"Listeners. Each is a list of address:port; [::1]:25 for IPv6, :25 for every address, none for no listener."`
	TLS    TLS    `yaml:"tls" doc:"Certificate of the SMTP listeners. Read again on reload."`
	Trust  Trust  `yaml:"trust" doc:"Who is believed. Nobody is, loopback included, unless listed."`
	SMTP   SMTP   `yaml:"smtp" doc:"How SMTP is spoken to clients."`
	Queue  Queue  `yaml:"queue" doc:"When mail is tried again, and when it is given up."`
	Relay  Relay  `yaml:"relay" doc:"How next hops are reached."`
	Spool  Spool  `yaml:"spool" doc:"The durable log under the data directory."`
	DNS    DNS    `yaml:"dns" doc:"Name servers."`
	Limits Limits `yaml:"limits" doc:"Every bound of the node, in one place. What is beyond a bound is refused early, with a temporary reply."`
	Log    Log    `yaml:"log" doc:"The log on standard error."`
}

// Listen names the addresses to listen on.
type Listen struct {
	SMTP              []Address `yaml:"smtp" default:"127.0.0.1:2525" doc:"SMTP from other servers (MX)."`
	SMTPProxied       []Address `yaml:"smtp_proxied" doc:"The same, behind a balancer: every connection must begin with a PROXY protocol header (v1 or v2)."`
	Submission        []Address `yaml:"submission" default:"127.0.0.1:2587" doc:"Submission by users (RFC 6409): STARTTLS, then AUTH."`
	SubmissionProxied []Address `yaml:"submission_proxied" doc:"The same, behind a balancer that sends a PROXY protocol header."`
	HTTP              []Address `yaml:"http" default:"127.0.0.1:8080" doc:"/healthz and /readyz."`
	Metrics           []Address `yaml:"metrics" default:"127.0.0.1:9090" doc:"/metrics for Prometheus. Not for strangers."`
	Demo              []Address `yaml:"demo" default:"127.0.0.1:2526" doc:"The sample customer's server of serve --demo, one address. Unused without it."`
}

// TLS names the files of the certificate.
type TLS struct {
	Certificate string `yaml:"certificate" doc:"PEM file of the certificate chain. Empty: a self-signed certificate is made in the data directory at first start."`
	Key         string `yaml:"key" doc:"PEM file of the private key, readable by the node's user only. Goes with certificate."`
}

// Trust names networks.
type Trust struct {
	Networks    []Network `yaml:"networks" doc:"Networks from which mail to any domain is taken without a login, for the node itself. Tenants name theirs in tenants.yaml."`
	XClientFrom []Network `yaml:"xclient_from" doc:"Networks whose XCLIENT command is believed (a proxy in front that knows the real client)."`
}

// SMTP says how the server speaks.
type SMTP struct {
	BareNewline Word `yaml:"bare_newline" default:"reject" words:"reject,normalise" doc:"What to do with a bare CR or LF inside content: reject closes the session, normalise makes it CRLF. Rejecting is what stops smuggling."`
}

// Queue holds the schedule.
type Queue struct {
	Backoff     []Duration `yaml:"backoff" default:"5m,10m,20m,40m,80m,160m,4h" min:"1s" max:"1d" doc:"Wait after the first, second, ... attempt; the last repeats."`
	SiteBackoff []Duration `yaml:"site_backoff" default:"30s,1m,2m,5m,10m,15m" min:"1s" max:"1d" doc:"Wait before the next single probe of a next hop that is down; the last repeats."`
	Expiry      Duration   `yaml:"expiry" default:"5d" min:"1m" max:"30d" doc:"How long mail is tried before it is given up (RFC 5321 section 4.5.4.1: at least 4 to 5 days)."`
	LaneIdle    Duration   `yaml:"lane_idle" default:"2s" min:"0s" max:"5m" doc:"How long a connection to a next hop is kept without mail to send."`
}

// Relay says how next hops are reached.
type Relay struct {
	SourceAddresses []IP `yaml:"source_addresses" doc:"Local addresses to connect from: the first of the right family is used. Empty: the system chooses."`
}

// Spool sizes the durable log.
type Spool struct {
	Segment          Size     `yaml:"segment" default:"64MiB" min:"1MiB" max:"1GiB" doc:"Size of a log segment; a multiple of 4 KiB."`
	InlineMax        Size     `yaml:"inline_max" default:"256KiB" min:"4KiB" max:"16MiB" doc:"Content up to this size lies in the log, larger content in a file of its own. At most a quarter of segment."`
	EventLogMax      Size     `yaml:"event_log_max" default:"8GiB" min:"16MiB" max:"16TiB" doc:"Bound of the event log, from which trace answers. The oldest part is shed above it."`
	MinFree          Size     `yaml:"min_free" default:"256MiB" min:"0B" max:"16TiB" doc:"Free space below which mail is refused before DATA (452)."`
	MinFreeInodes    int      `yaml:"min_free_inodes" default:"1000" min:"0" max:"1000000000" doc:"The same for inodes."`
	Ballast          Size     `yaml:"ballast" default:"128MiB" min:"0B" max:"1TiB" doc:"Size of a file that is given up when the disk is full, so that mail can still be finished."`
	FinishSyncDelay  Duration `yaml:"finish_sync_delay" default:"20ms" min:"0s" max:"10s" doc:"Longest time that a delivery is noted without a sync. A crash within it may deliver a message twice, never lose one."`
	CheckpointEvery  Duration `yaml:"checkpoint_every" default:"60s" min:"1s" max:"1h" doc:"Time between two checkpoints while mail comes. A start reads the log behind the last but one."`
	CheckpointOctets Size     `yaml:"checkpoint_octets" default:"128MiB" min:"1MiB" max:"64GiB" doc:"A checkpoint is also made when so much log was written since the last."`
	CopyForwardAfter Duration `yaml:"copy_forward_after" default:"10m" min:"1s" max:"1d" doc:"Age at which a segment that is mostly finished mail is freed, by copying forward what still waits in it."`
}

// DNS names the servers to ask.
type DNS struct {
	Upstreams []Upstream `yaml:"upstreams" doc:"Recursive name servers, asked in turn; port 53 when none is given. Empty: those of /etc/resolv.conf."`
	TrustAD   bool       `yaml:"trust_ad" default:"false" doc:"Believe the AD bit of the upstreams. Only for validating ones on this machine or a link that nobody else writes to."`
	Timeout   Duration   `yaml:"timeout" default:"2s" min:"100ms" max:"30s" doc:"Deadline of one question to one upstream."`
}

// Limits holds every bound.
type Limits struct {
	Connections           int  `yaml:"connections" default:"2000" min:"1" max:"200000" doc:"SMTP connections at once, over all listeners."`
	ConnectionsPerNetwork int  `yaml:"connections_per_network" default:"200" min:"1" max:"200000" doc:"SMTP connections at once from one client network (/24, or /64 for IPv6)."`
	MessagesPerConnection int  `yaml:"messages_per_connection" default:"10000" min:"0" max:"100000000" doc:"Messages on one connection; 0: no bound. Announced as MAILMAX (RFC 9422)."`
	Recipients            int  `yaml:"recipients" default:"1000" min:"100" max:"100000" doc:"Recipients of one message (RFC 5321 section 4.5.3.1.8: at least 100). Announced as RCPTMAX."`
	Content               Size `yaml:"content" default:"50MiB" min:"64KiB" max:"2GiB" doc:"Largest content of a message. Announced as SIZE."`
	OctetsInMemory        Size `yaml:"octets_in_memory" default:"64MiB" min:"1MiB" max:"1TiB" doc:"Content held in memory at once, over all sessions. When full: 452."`
	Errors                int  `yaml:"errors" default:"20" min:"1" max:"10000" doc:"Commands refused in one session before it is closed (421)."`
	Commands              int  `yaml:"commands" default:"1000" min:"10" max:"1000000" doc:"Commands in one session that bring no mail (NOOP, RSET, VRFY, EHLO, ...) before it is closed."`
	MinRate               Size `yaml:"min_rate" default:"64B" min:"0B" max:"1GiB" doc:"Octets of content per second below which a client is cut off; 0B: none."`
	Hops                  int  `yaml:"hops" default:"100" min:"10" max:"1000" doc:"Received fields that mark a loop (RFC 5321 section 6.3: at least 100 by default)."`

	Lanes       int `yaml:"lanes" default:"200" min:"1" max:"10000" doc:"Connections to next hops at once."`
	LanesPerHop int `yaml:"lanes_per_hop" default:"20" min:"1" max:"1000" doc:"Connections to one next hop; a domain's max_connections in tenants.yaml goes before it."`
	QueueItems  int `yaml:"queue_items" default:"2000000" min:"1000" max:"100000000" doc:"Waiting messages held in memory (about 80 octets each); what is beyond waits in the spool."`

	DNSQuestions int `yaml:"dns_questions" default:"512" min:"1" max:"100000" doc:"Open questions to name servers."`
	DNSCache     int `yaml:"dns_cache" default:"20000" min:"100" max:"10000000" doc:"Answers kept from name servers."`

	PasswordChecks  int      `yaml:"password_checks" default:"2" min:"1" max:"64" doc:"Passwords hashed at once. Each takes up to 64 MiB of memory and some 40 ms of a core."`
	PasswordWaiting int      `yaml:"password_waiting" default:"64" min:"1" max:"10000" doc:"Logins that may wait for that; others hear 454."`
	PasswordCache   Duration `yaml:"password_cache" default:"5m" min:"1s" max:"1d" doc:"How long a login that succeeded is remembered, as a keyed hash in memory; a reload forgets all."`

	ControlRequests int `yaml:"control_requests" default:"16" min:"2" max:"1000" doc:"Requests on the control socket at once."`

	Deadlines Deadlines `yaml:"deadlines" doc:"Deadlines per phase. RFC 5321 section 4.5.3.2 says what a client may expect."`
}

// Deadlines bounds waiting.
type Deadlines struct {
	Command      Duration `yaml:"command" default:"5m" min:"1s" max:"1h" doc:"From a reply to the client's next command (RFC 5321 section 4.5.3.2.7)."`
	ContentBlock Duration `yaml:"content_block" default:"3m" min:"1s" max:"1h" doc:"From one piece of content to the next (RFC 5321 section 4.5.3.2.5)."`
	Content      Duration `yaml:"content" default:"1h" min:"10s" max:"1d" doc:"The whole content of one message."`
	Handshake    Duration `yaml:"handshake" default:"30s" min:"1s" max:"10m" doc:"The TLS handshake and the PROXY protocol header."`
	Write        Duration `yaml:"write" default:"1m" min:"1s" max:"1h" doc:"For the client to take a reply."`
	Session      Duration `yaml:"session" default:"4h" min:"1m" max:"7d" doc:"A whole session, so that nobody renews it for ever."`
	Drain        Duration `yaml:"drain" default:"30s" min:"0s" max:"1h" doc:"For transactions that stand when the node stops."`

	RelayConnect  Duration `yaml:"relay_connect" default:"30s" min:"1s" max:"10m" doc:"To connect to one address of a next hop."`
	RelayGreeting Duration `yaml:"relay_greeting" default:"5m" min:"1s" max:"1h" doc:"For a next hop's greeting (RFC 5321 section 4.5.3.2.1)."`
	RelayCommand  Duration `yaml:"relay_command" default:"5m" min:"1s" max:"1h" doc:"For its reply to EHLO, MAIL and RCPT (sections 4.5.3.2.2, 4.5.3.2.3)."`
	RelayData     Duration `yaml:"relay_data" default:"2m" min:"1s" max:"1h" doc:"For its reply to DATA (section 4.5.3.2.4)."`
	RelayBlock    Duration `yaml:"relay_block" default:"3m" min:"1s" max:"1h" doc:"For it to take a piece of content (section 4.5.3.2.5)."`
	RelayEnd      Duration `yaml:"relay_end" default:"10m" min:"1s" max:"1h" doc:"For its reply to end-of-data (section 4.5.3.2.6)."`
}

// Log says how the log is written.
type Log struct {
	Format Word `yaml:"format" default:"text" words:"text,json" doc:"text is key=value, json one object a line."`
	Level  Word `yaml:"level" default:"info" words:"debug,info,warn,error" doc:"The least level that is written."`
}

// TenantsFile returns the path of tenants.yaml, and whether it was named by
// somebody: a file that was not named may be absent.
func (c *Config) TenantsFile() (path string, named bool) {
	if c.Tenants != "" {
		return c.Tenants, true
	}
	return filepath.Join(c.Data, "tenants.yaml"), false
}

// Listener is one address to listen on.
type Listener struct {
	Name          string // smtp, smtp-proxied, submission, submission-proxied, http, metrics
	Address       string // host:port for net.Listen
	SMTP          bool   // SMTP is spoken; Submission implies it
	Submission    bool
	ProxyProtocol bool
}

// Listeners returns all listeners, in the order of Listen's fields.
func (c *Config) Listeners() []Listener {
	var all []Listener
	add := func(addresses []Address, l Listener) {
		for _, a := range addresses {
			l.Address = string(a)
			all = append(all, l)
		}
	}
	add(c.Listen.SMTP, Listener{Name: "smtp", SMTP: true})
	add(c.Listen.SMTPProxied, Listener{Name: "smtp-proxied", SMTP: true, ProxyProtocol: true})
	add(c.Listen.Submission, Listener{Name: "submission", SMTP: true, Submission: true})
	add(c.Listen.SubmissionProxied, Listener{Name: "submission-proxied", SMTP: true, Submission: true, ProxyProtocol: true})
	add(c.Listen.HTTP, Listener{Name: "http"})
	add(c.Listen.Metrics, Listener{Name: "metrics"})
	return all
}
