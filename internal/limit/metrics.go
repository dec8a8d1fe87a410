package limit

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Register exports bounds: postern_limit_in_use, postern_limit_max,
// postern_limit_refusals_total and postern_limit_misgiven_total, each with the
// label name, and postern_limit_keys for bounds that have keys. No key is ever
// a label. Two bounds of one name are an error, and then none is registered
// from the second one on.
func Register(r prometheus.Registerer, bounds ...Bound) error {
	for _, b := range bounds {
		if err := r.Register(newCollector(b)); err != nil {
			return fmt.Errorf("register bound %s: %w", b.Name(), err)
		}
	}
	return nil
}

type collector struct {
	bound                              Bound
	keys                               interface{ Keys() int } // nil: no keys
	inUse, max, refused, misgiven, key *prometheus.Desc
}

func newCollector(b Bound) *collector {
	labels := prometheus.Labels{"name": b.Name()}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("postern_limit_"+name, help, nil, labels)
	}
	keys, _ := b.(interface{ Keys() int })
	return &collector{
		bound:    b,
		keys:     keys,
		inUse:    desc("in_use", "What is in use of a bound, over all its keys."),
		max:      desc("max", "The most that may be in use of a bound, per key where it has keys."),
		refused:  desc("refusals_total", "How often a bound refused."),
		misgiven: desc("misgiven_total", "How often something was given back that was not taken: a defect."),
		key:      desc("keys", "Keys under which something is held."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.inUse
	ch <- c.max
	ch <- c.refused
	ch <- c.misgiven
	if c.keys != nil {
		ch <- c.key
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, t prometheus.ValueType, v float64) {
		ch <- prometheus.MustNewConstMetric(d, t, v)
	}
	gauge(c.inUse, prometheus.GaugeValue, float64(c.bound.InUse()))
	gauge(c.max, prometheus.GaugeValue, float64(c.bound.Max()))
	gauge(c.refused, prometheus.CounterValue, float64(c.bound.Refusals()))
	gauge(c.misgiven, prometheus.CounterValue, float64(c.bound.Misgiven()))
	if c.keys != nil {
		gauge(c.key, prometheus.GaugeValue, float64(c.keys.Keys()))
	}
}
