package edge

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/telemetry"
)

// Metrics is what the door counts. One serves all listeners of a node.
type Metrics struct {
	messages   [envelope.Report]prometheus.Counter // by kind
	recipients prometheus.Counter
	octets     prometheus.Counter
	refusals   *telemetry.Counters
	deferrals  *telemetry.Counters
	panics     prometheus.Counter
}

// The closed label sets.
var (
	kindWords   = []string{"inbound", "trusted", "submitted"}
	phaseWords  = []string{"connect", "auth", "mail", "rcpt", "data", "end-of-data"}
	refuseCodes = []string{"421", "450", "452", "530", "535", "550", "553", "554"}
)

// NewMetrics makes and exports the door's metrics. A nil t exports nothing.
func NewMetrics(t *telemetry.Telemetry) *Metrics {
	messages := t.Counters("postern_edge_accepted_total",
		"Messages taken in, by where they come from.", telemetry.Label{Name: "kind", Values: kindWords})
	m := &Metrics{
		recipients: t.Counter("postern_edge_accepted_recipients_total", "Recipients of messages taken in."),
		octets:     t.Counter("postern_edge_accepted_octets_total", "Octets of content taken in."),
		refusals: t.Counters("postern_edge_refused_total", "What clients were refused, by phase and reply code.",
			telemetry.Label{Name: "phase", Values: phaseWords}, telemetry.Label{Name: "code", Values: refuseCodes}),
		deferrals: t.Counters("postern_edge_deferred_total", "Own trouble that clients heard of as 4yz, by phase.",
			telemetry.Label{Name: "phase", Values: phaseWords}),
		panics: t.Counter("postern_edge_panics_total", "Defects that cost one transaction."),
	}
	for i := range m.messages {
		kind := telemetry.Other
		if i >= 1 && i <= len(kindWords) {
			kind = kindWords[i-1]
		}
		m.messages[i] = messages.With(kind)
	}
	return m
}

func (m *Metrics) accepted(envs []*envelope.Envelope) {
	for _, env := range envs {
		m.messages[env.Kind].Inc()
		m.recipients.Add(float64(len(env.Forward)))
	}
	m.octets.Add(float64(envs[0].Size))
}

func (m *Metrics) refused(phase string, reply smtp.Reply) {
	m.refusals.With(phase, strconv.Itoa(reply.Code)).Inc()
}
