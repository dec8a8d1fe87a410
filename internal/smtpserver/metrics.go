package smtpserver

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what servers do. One Metrics may serve several servers; its
// label values are the listeners' names and the closed lists in this file.
type Metrics struct {
	connections *prometheus.CounterVec // listener, result
	open        *prometheus.GaugeVec   // listener
	commands    *prometheus.CounterVec // listener, verb
	replies     *prometheus.CounterVec // listener, class
	messages    *prometheus.CounterVec // listener, result
	octets      *prometheus.CounterVec // listener
	cuts        *prometheus.CounterVec // listener, reason
	tls         *prometheus.CounterVec // listener, result
	auth        *prometheus.CounterVec // listener, result
	panics      *prometheus.CounterVec // listener
}

// cut is why a session was ended, or a connection refused, by the server.
type cut uint8

const (
	cutTotal cut = iota
	cutPeer
	cutPolicy
	cutProxyHeader
	cutEarlyTalk
	cutBareNewline
	cutLineTooLong
	cutContent
	cutChunkSize
	cutTimeout
	cutSlow
	cutSessionTotal
	cutErrors
	cutVerbs
	cutMessages
	cutAuth
	cutForeign
	cutReadAhead
	cutShutdown
	cutPanic
	cuts
)

// String returns the value of the label reason.
func (c cut) String() string {
	return [cuts]string{
		"too-many-connections", "too-many-from-peer", "policy", "proxy-header", "early-talk", "bare-newline",
		"line-too-long", "content", "chunk-size", "timeout", "too-slow", "session-total", "too-many-errors",
		"too-many-commands", "too-many-messages", "auth-failures", "foreign-protocol", "starttls-read-ahead",
		"shutdown", "panic",
	}[c]
}

// NewMetrics returns Metrics registered with r; nil means that they are
// counted and not shown. It panics, as prometheus does, when r has them
// already.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "postern", Subsystem: "smtp", Name: name, Help: help},
			append([]string{"listener"}, labels...))
		if r != nil {
			r.MustRegister(v)
		}
		return v
	}
	m := &Metrics{
		connections: counter("connections_total", "Connections by what became of them at the door.", "result"),
		commands:    counter("commands_total", "Commands by verb.", "verb"),
		replies:     counter("replies_total", "Replies by the first digit of their code.", "class"),
		messages:    counter("messages_total", "Contents by how they ended.", "result"),
		octets:      counter("content_octets_total", "Octets of content, decoded."),
		cuts:        counter("cuts_total", "Connections refused and sessions ended by the server, and read-ahead dropped, by reason.", "reason"),
		tls:         counter("tls_handshakes_total", "TLS handshakes by result.", "result"),
		auth:        counter("auth_total", "AUTH exchanges by result.", "result"),
		panics:      counter("panics_total", "Sessions ended by a panic in this process."),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "postern", Subsystem: "smtp",
			Name: "open_connections", Help: "Connections that are open.",
		}, []string{"listener"}),
	}
	if r != nil {
		r.MustRegister(m.open)
	}
	return m
}

// tally is the part of Metrics that belongs to one server, looked up once.
type tally struct {
	accepted, refused              prometheus.Counter
	open                           prometheus.Gauge
	unknown                        prometheus.Counter
	replies                        [6]prometheus.Counter
	committed, rejected, abandoned prometheus.Counter
	octets                         prometheus.Counter
	cuts                           [cuts]prometheus.Counter
	tlsOK, tlsFailed               prometheus.Counter
	authOK, authFailed             prometheus.Counter
	panics                         prometheus.Counter
}

func (m *Metrics) tally(listener string) *tally {
	t := &tally{
		accepted:   m.connections.WithLabelValues(listener, "accepted"),
		refused:    m.connections.WithLabelValues(listener, "refused"),
		open:       m.open.WithLabelValues(listener),
		unknown:    m.commands.WithLabelValues(listener, "unknown"),
		committed:  m.messages.WithLabelValues(listener, "accepted"),
		rejected:   m.messages.WithLabelValues(listener, "refused"),
		abandoned:  m.messages.WithLabelValues(listener, "abandoned"),
		octets:     m.octets.WithLabelValues(listener),
		tlsOK:      m.tls.WithLabelValues(listener, "ok"),
		tlsFailed:  m.tls.WithLabelValues(listener, "failed"),
		authOK:     m.auth.WithLabelValues(listener, "ok"),
		authFailed: m.auth.WithLabelValues(listener, "failed"),
		panics:     m.panics.WithLabelValues(listener),
	}
	for class := range t.replies {
		if class >= 2 {
			t.replies[class] = m.replies.WithLabelValues(listener, string(rune('0'+class))+"yz")
		}
	}
	for c := range cuts {
		t.cuts[c] = m.cuts.WithLabelValues(listener, c.String())
	}
	return t
}

// command returns the counter of a verb of the table.
func (m *Metrics) command(listener, verb string) prometheus.Counter {
	return m.commands.WithLabelValues(listener, verb)
}
