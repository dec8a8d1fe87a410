package telemetry

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Other is the value of a label for everything outside its closed set.
const Other = "other"

// Label is a label's name and all values that it may have. Other is one more,
// always.
type Label struct {
	Name   string
	Values []string
}

// Counters is a family of counters over closed label sets. Take the Counter
// that a hot path needs once, and keep it.
type Counters struct {
	labels []Label
	vec    *prometheus.CounterVec
}

// With returns the counter for values, one a label in the order of the labels.
// A value outside its set, or one that is missing, counts as Other.
func (c *Counters) With(values ...string) prometheus.Counter {
	return c.vec.WithLabelValues(closed(c.labels, values)...)
}

// Histograms is a family of histograms over closed label sets.
type Histograms struct {
	labels []Label
	vec    *prometheus.HistogramVec
}

// With returns the histogram for values, as Counters.With does.
func (h *Histograms) With(values ...string) prometheus.Observer {
	return h.vec.WithLabelValues(closed(h.labels, values)...)
}

func closed(labels []Label, values []string) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = Other
		if i < len(values) && slices.Contains(l.Values, values[i]) {
			out[i] = values[i]
		}
	}
	return out
}

func names(labels []Label) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = l.Name
	}
	return out
}

// Counter makes and exports a counter; its name ends in "_total".
func (t *Telemetry) Counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	t.Register(name, c)
	return c
}

// Counters makes and exports a family of counters over closed label sets.
func (t *Telemetry) Counters(name, help string, labels ...Label) *Counters {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, names(labels))
	t.Register(name, v)
	return &Counters{labels, v}
}

// Gauge makes and exports a gauge.
func (t *Telemetry) Gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	t.Register(name, g)
	return g
}

// GaugeFunc exports what f returns at each scrape. f must be safe for
// concurrent use and must not wait.
func (t *Telemetry) GaugeFunc(name, help string, f func() float64) {
	t.Register(name, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
}

// CounterFunc exports what f returns at each scrape, as GaugeFunc does.
func (t *Telemetry) CounterFunc(name, help string, f func() float64) {
	t.Register(name, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f))
}

// Histogram makes and exports a histogram with the upper bounds of its
// buckets, in the metric's unit and ascending.
func (t *Telemetry) Histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	t.Register(name, h)
	return h
}

// Histograms makes and exports a family of histograms over closed label sets.
func (t *Telemetry) Histograms(name, help string, buckets []float64, labels ...Label) *Histograms {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, names(labels))
	t.Register(name, v)
	return &Histograms{labels, v}
}

// Seconds is the usual set of buckets for durations, from 0.1 ms to 5 min.
// Chosen: three a decade, so that a percentile is right to about half.
func Seconds() []float64 {
	return []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300}
}

// Register exports any collector. A name that is taken is logged as the defect
// it is, and the collector counts unseen.
func (t *Telemetry) Register(name string, c prometheus.Collector) {
	if t == nil || t.Registry == nil {
		return
	}
	if err := t.Registry.Register(c); err != nil {
		t.Log().Error("metric not exported", KeyMetric, name, KeyError, err)
	}
}
