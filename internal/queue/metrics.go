package queue

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
)

// counters are what the queue has done, for metrics. They are exported under
// the names that register gives them.
type counters struct {
	opened, shed, repaired, expired, panics, damaged    atomic.Int64
	defects, applyFailed, unwritten, reportFailed       atomic.Int64
	verdicts                                            [envelope.AdviceFail + 1]atomic.Int64
	causes                                              [int(cause.OperatorAction) + 1]atomic.Int64
	ofOutcomes, ofCauses, ofPhase, ofBound, ofBoundUsed *prometheus.Desc
	single                                              []single
}

// single is a metric without labels.
type single struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func() float64
}

// count notes the outcomes of one attempt.
func (c *counters) count(outcomes []envelope.Outcome) {
	for i := range outcomes {
		c.verdicts[min(outcomes[i].Verdict, envelope.AdviceFail)].Add(1)
		if w := int(outcomes[i].Attempt.Cause); w > 0 && w < len(c.causes) {
			c.causes[w].Add(1)
		}
	}
}

func (c *counters) register(r prometheus.Registerer, q *Queue) error {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("postern_queue_"+name, help, labels, nil)
	}
	c.ofOutcomes = desc("outcomes_total", "Outcomes of attempts, one for each recipient.", "verdict")
	c.ofCauses = desc("causes_total", "Why recipients were not delivered, one for each recipient and attempt.", "cause")
	c.ofPhase = desc("items", "Items (a message's part for one next hop) in memory.", "phase")
	c.ofBound = desc("bound", "The queue's bounds.", "name")
	c.ofBoundUsed = desc("bound_in_use", "What is in use of the queue's bounds.", "name")
	total := func(name, help string, v *atomic.Int64) {
		c.single = append(c.single, single{desc(name, help), prometheus.CounterValue, func() float64 { return float64(v.Load()) }})
	}
	total("lanes_opened_total", "Lanes opened.", &c.opened)
	total("shed_total", "Items left to a later scan because the bound on items was reached.", &c.shed)
	total("repaired_total", "Items that a repair scan found.", &c.repaired)
	total("expired_total", "Recipients whose time was over without a last attempt.", &c.expired)
	total("panics_total", "Recovered panics.", &c.panics)
	total("damaged_total", "Messages found damaged and held.", &c.damaged)
	total("defects_total", "Recipients for whom the transport gave no outcome.", &c.defects)
	total("apply_failed_total", "Times that outcomes could not be written.", &c.applyFailed)
	total("report_failed_total", "Times that a report could not be written.", &c.reportFailed)
	c.single = append(c.single,
		single{
			desc("unwritten", "Deliveries whose outcome is only in memory now."), prometheus.GaugeValue,
			func() float64 { return float64(c.unwritten.Load()) },
		},
		single{
			desc("clock_jumped", "1 while a jump of the wall clock stops expiry."), prometheus.GaugeValue,
			func() float64 {
				if _, jumped := q.guard.state(); jumped {
					return 1
				}
				return 0
			},
		})
	if r == nil {
		return nil
	}
	return r.Register(collector{q})
}

// collector exports the queue; prometheus.Collector is kept off Queue's own
// methods.
type collector struct{ q *Queue }

// Describe implements prometheus.Collector.
func (k collector) Describe(ch chan<- *prometheus.Desc) {
	c := &k.q.counter
	for _, d := range []*prometheus.Desc{c.ofOutcomes, c.ofCauses, c.ofPhase, c.ofBound, c.ofBoundUsed} {
		ch <- d
	}
	for i := range c.single {
		ch <- c.single[i].desc
	}
}

// Collect implements prometheus.Collector.
func (k collector) Collect(ch chan<- prometheus.Metric) {
	c := &k.q.counter
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, label ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, label...)
	}
	for i := range c.single {
		send(c.single[i].desc, c.single[i].kind, c.single[i].value())
	}
	for v := envelope.AdviceDelivered; v <= envelope.AdviceFail; v++ {
		send(c.ofOutcomes, prometheus.CounterValue, float64(c.verdicts[v].Load()), v.String())
	}
	for w := range c.causes {
		if n := c.causes[w].Load(); n > 0 {
			send(c.ofCauses, prometheus.CounterValue, float64(n), word(cause.Cause(w)))
		}
	}
	n := k.q.numbers()
	for _, p := range []struct {
		name  string
		value int
	}{{"waiting", n.waiting}, {"ready", n.ready}, {"active", n.active}, {"held", n.held}} {
		send(c.ofPhase, prometheus.GaugeValue, float64(p.value), p.name)
	}
	for _, b := range []struct {
		name      string
		used, max int
	}{
		{"lanes", n.lanes, k.q.cfg.MaxLanes}, {"items", n.items, k.q.cfg.MaxItems}, {"fresh envelopes", n.fresh, k.q.cfg.MaxFresh},
	} {
		send(c.ofBound, prometheus.GaugeValue, float64(b.max), b.name)
		send(c.ofBoundUsed, prometheus.GaugeValue, float64(b.used), b.name)
	}
}

// numbers are what is in use now.
type numbers struct{ items, waiting, ready, active, held, lanes, fresh int }

func (q *Queue) numbers() numbers {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := numbers{items: q.t.count, waiting: len(q.t.heap), lanes: q.lanes, fresh: len(q.fresh) - len(q.spare)}
	for _, h := range q.hops {
		if h != nil {
			n.ready += h.ready.n
			n.active += h.busy
		}
	}
	n.held = n.items - n.waiting - n.ready - n.active
	return n
}
