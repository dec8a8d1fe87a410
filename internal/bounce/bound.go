package bounce

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// bound counts reports in windows of an hour. It needs no more memory than
// one entry for each of the reports that are allowed in all.
type bound struct {
	perKey, total int

	mu    sync.Mutex
	began time.Time
	used  int
	byKey map[string]int
}

// take counts one report to key, or refuses it.
func (b *bound) take(key string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if age := now.Sub(b.began); b.byKey == nil || age >= time.Hour || age < 0 {
		b.began, b.used, b.byKey = now, 0, map[string]int{}
	}
	if b.used >= b.total || b.byKey[key] >= b.perKey {
		return false
	}
	b.used++
	b.byKey[key]++
	return true
}

// reasons are why no report was made, as metric labels.
var reasons = [...]string{"kind", "null-reverse-path", "notify", "rate"}

func reasonNumber(reason string) int {
	for i := range reasons {
		if reasons[i] == reason {
			return i
		}
	}
	return 0
}

type counters struct {
	reports, without atomic.Int64
	suppressed       [len(reasons)]atomic.Int64
}

func (c *counters) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	counter := func(name, help string, labels prometheus.Labels, v *atomic.Int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "postern_bounce_" + name, Help: help, ConstLabels: labels,
		}, func() float64 { return float64(v.Load()) })
	}
	all := []prometheus.Collector{
		counter("reports_total", "Reports committed.", nil, &c.reports),
		counter("without_original_total", "Reports made without the original, which could not be read.", nil, &c.without),
	}
	for i := range reasons {
		all = append(all, counter("suppressed_total", "Recipients that ended without a report, by reason.",
			prometheus.Labels{"reason": reasons[i]}, &c.suppressed[i]))
	}
	for _, one := range all {
		if err := r.Register(one); err != nil {
			return err
		}
	}
	return nil
}
