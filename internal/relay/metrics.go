package relay

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtpclient"
	"github.com/postern-mail/postern/internal/telemetry"
)

// metrics are the handles. No label is ever chosen by a peer or a message.
type metrics struct {
	outcomes    *telemetry.Counters // verdict, cause
	delivered   prometheus.Counter  // of outcomes: the hot one
	troubles    *telemetry.Counters // phase, cause; one for each host that was tried in vain
	connections *telemetry.Counters // tls
	open        prometheus.Gauge
	reused      prometheus.Counter
	stale       prometheus.Counter
	duplicates  prometheus.Counter
	seconds     prometheus.Histogram
}

// The values of the label tls.
const (
	tlsPlain    = "plain"
	tlsFallback = "fallback"
	tlsSecure   = "tls"
)

// phaseNaming is the value of the label phase before there is a connection.
const phaseNaming = "naming"

func newMetrics(t *telemetry.Telemetry) *metrics {
	verdicts := []string{envelope.AdviceDelivered.String(), envelope.AdviceDefer.String(), envelope.AdviceFail.String()}
	m := &metrics{
		outcomes: t.Counters("postern_relay_outcomes_total", "Recipients, by what an attempt advises and why.",
			telemetry.Label{Name: "verdict", Values: verdicts}, telemetry.Label{Name: "cause", Values: cause.Words()}),
		troubles: t.Counters("postern_relay_troubles_total", "Hosts that were tried in vain, by where and why.",
			telemetry.Label{Name: "phase", Values: append(smtpclient.Phases(), phaseNaming)},
			telemetry.Label{Name: "cause", Values: cause.Words()}),
		connections: t.Counters("postern_relay_connections_total", "Connections made to next hops; fallback: in plain text after TLS failed.",
			telemetry.Label{Name: "tls", Values: []string{tlsPlain, tlsFallback, tlsSecure}}),
		open:   t.Gauge("postern_relay_connections_open", "Connections to next hops that stand."),
		reused: t.Counter("postern_relay_reused_total", "Messages that began on a connection that stood already."),
		stale:  t.Counter("postern_relay_stale_total", "Connections that the peer had closed when they were to be used again."),
		duplicates: t.Counter("postern_relay_possible_duplicates_total",
			"Attempts after which the peer may hold the message although it did not say so."),
		seconds: t.Histogram("postern_relay_delivery_seconds", "Duration of attempts that delivered.", telemetry.Seconds()),
	}
	m.delivered = m.outcomes.With(envelope.AdviceDelivered.String(), cause.None.String())
	return m
}

func (m *metrics) outcome(o *envelope.Outcome) {
	if o.Verdict == envelope.AdviceDelivered {
		m.delivered.Inc()
		return
	}
	m.outcomes.With(o.Verdict.String(), o.Attempt.Cause.String()).Inc()
}

func (m *metrics) connected(c *smtpclient.Conn) {
	word := tlsPlain
	switch f := c.TLS(); {
	case f.Failed != "":
		word = tlsFallback
	case f.Text != "":
		word = tlsSecure
	}
	m.connections.With(word).Inc()
	m.open.Inc()
}

func (m *metrics) trouble(t trouble, d decision) {
	phase := phaseNaming
	if t.naming == namingFine {
		phase = t.phase.String()
	}
	m.troubles.With(phase, d.cause.String()).Inc()
	if t.afterData {
		m.duplicates.Inc()
	}
}
