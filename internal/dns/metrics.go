package dns

import (
	"sync/atomic"

	"github.com/postern-mail/postern/internal/telemetry"
)

// export makes the counters metrics. No name that was asked for is a label.
func (c *Client) export(t *telemetry.Telemetry) {
	if t == nil {
		return
	}
	for _, m := range []struct {
		name, help string
		v          *atomic.Uint64
	}{
		{"questions", "Questions that were asked of the resolver.", &c.count.questions},
		{"cached", "Questions that were answered from the cache.", &c.count.cached},
		{"joined", "Questions that were answered by another's open question.", &c.count.joined},
		{"tries", "Packets and TCP questions that were sent to name servers.", &c.count.tries},
		{"tcp", "Questions that were sent to name servers over TCP.", &c.count.tcp},
		{"dropped", "Packets that did not match their question.", &c.count.dropped},
		{"stale", "Questions that were answered with what was last known.", &c.count.stale},
		{"unanswered", "Questions that no name server answered.", &c.count.couldNotAsk},
		{"busy", "Questions that were refused because too many were open.", &c.count.busy},
	} {
		t.CounterFunc("postern_dns_"+m.name+"_total", m.help, func() float64 { return float64(m.v.Load()) })
	}
	t.GaugeFunc("postern_dns_outstanding", "Questions that are open.", func() float64 { return float64(c.Stats().Outstanding) })
	t.GaugeFunc("postern_dns_outstanding_max", "Questions that may be open.", func() float64 { return float64(c.cfg.MaxOutstanding) })
}
