package spool

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/envelope"
)

// Bounds of the histograms: batch sizes in messages, sync times in seconds.
// Chosen: powers of two, and the span from a good NVMe to a sick disk.
var (
	sizeBounds = [...]float64{1, 2, 4, 8, 16, 32, 64, 128, 256}
	syncBounds = [...]float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2}
)

// histogram is a Prometheus histogram that costs two atomic additions.
type histogram struct {
	counts [16]atomic.Uint64
	sum    atomic.Int64 // in units of the caller
}

func (h *histogram) observe(v float64, bounds []float64, unit int64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(unit)
}

// counters are what the spool counts about itself.
type counters struct {
	batches, octets, messages, changes  atomic.Int64
	syncs                               [reasons]atomic.Int64
	gathers, stalls, abandoned          atomic.Int64
	checkpoints, checkpointErrors       atomic.Int64
	copied, recycled, shed, shedOctets  atomic.Int64
	eventBatches, eventLag, eventErrors atomic.Int64
	refusedRoom, refusedMemory          atomic.Int64
	batchSize, syncTime                 histogram
	mu                                  sync.Mutex
	findings                            map[FindingKind]int64
}

func (c *counters) batch(b *batch) {
	c.batches.Add(1)
	c.octets.Add(int64(len(b.buf)))
	n := int64(0)
	for i := range b.ops {
		if b.ops[i].kind == opAccept {
			n++
		}
	}
	c.messages.Add(n)
	c.changes.Add(int64(len(b.ops)) - n)
	if n > 0 {
		c.batchSize.observe(float64(n), sizeBounds[:], n)
	}
}

func (c *counters) sync(why reason, took time.Duration) {
	c.syncs[why].Add(1)
	c.syncTime.observe(took.Seconds(), syncBounds[:], int64(took))
}

func (c *counters) finding(k FindingKind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.findings == nil {
		c.findings = map[FindingKind]int64{}
	}
	c.findings[k]++
}

// Stats are the spool's own counts since Open, for tests and benchmarks; the
// same numbers are metrics.
type Stats struct {
	Batches, Octets, Messages, Changes  int64
	AcceptSyncs, FinishSyncs            int64
	CheckpointSyncs, EventSyncs         int64
	Gathers, Stalls, Abandoned          int64
	Checkpoints, Copied, Recycled, Shed int64
	Live                                int
	Segments, Spares                    int
}

// Stats returns the counts of now.
func (s *Spool) Stats() Stats {
	c := &s.stats
	st := Stats{
		Batches: c.batches.Load(), Octets: c.octets.Load(), Messages: c.messages.Load(), Changes: c.changes.Load(),
		AcceptSyncs: c.syncs[forAccept].Load(), FinishSyncs: c.syncs[forFinish].Load(),
		CheckpointSyncs: c.syncs[forCheckpoint].Load(), EventSyncs: c.syncs[forEvent].Load(),
		Gathers: c.gathers.Load(), Stalls: c.stalls.Load(), Abandoned: c.abandoned.Load(),
		Checkpoints: c.checkpoints.Load(), Copied: c.copied.Load(), Recycled: c.recycled.Load(), Shed: c.shed.Load(),
	}
	s.idx.mu.RLock()
	st.Live = s.idx.live
	s.idx.mu.RUnlock()
	s.segMu.RLock()
	st.Segments = len(s.segs)
	s.segMu.RUnlock()
	s.spareMu.Lock()
	st.Spares = len(s.spares)
	s.spareMu.Unlock()
	return st
}

// collector shows the counters to Prometheus. Reading them when asked keeps
// the metrics library out of the mail path.
type collector struct{ s *Spool }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("postern_spool_"+name, help, labels, nil)
}

// Describe sends nothing: the collector is unchecked, its set is fixed here.
func (collector) Describe(chan<- *prometheus.Desc) {}

func (m collector) Collect(out chan<- prometheus.Metric) {
	st, c := m.s.Stats(), &m.s.stats
	count := func(name, help string, v int64) {
		out <- prometheus.MustNewConstMetric(desc(name, help), prometheus.CounterValue, float64(v))
	}
	gauge := func(name, help string, v float64) {
		out <- prometheus.MustNewConstMetric(desc(name, help), prometheus.GaugeValue, v)
	}
	count("batches_total", "Batches written to the main log.", st.Batches)
	count("octets_total", "Octets written to the main log.", st.Octets)
	count("messages_total", "Messages accepted.", st.Messages)
	count("changes_total", "Moves, finishes and copies written.", st.Changes)
	count("gathers_total", "Batches that waited for open drafts.", st.Gathers)
	count("segment_stalls_total", "Times the committer waited for a segment.", st.Stalls)
	count("segments_abandoned_total", "Segments given up after a failed write or sync.", st.Abandoned)
	count("segments_recycled_total", "Segments freed.", st.Recycled)
	count("checkpoints_total", "Checkpoints completed.", st.Checkpoints)
	count("checkpoint_errors_total", "Checkpoints that could not be written.", c.checkpointErrors.Load())
	count("copied_forward_total", "Messages copied forward.", st.Copied)
	count("event_files_shed_total", "Event files given up to keep the bound.", st.Shed)
	count("event_octets_shed_total", "Octets of events given up.", c.shedOctets.Load())
	count("event_errors_total", "Writes or syncs of the event log that failed.", c.eventErrors.Load())
	count("refused_room_total", "Times Room or NewDraft refused for lack of room.", c.refusedRoom.Load())
	count("refused_memory_total", "Drafts refused for lack of memory.", c.refusedMemory.Load())
	gauge("live_messages", "Messages that wait.", float64(st.Live))
	gauge("segments", "Segments that hold or may hold mail.", float64(st.Segments))
	gauge("spare_segments", "Segments ready for use.", float64(st.Spares))
	gauge("event_lag_batches", "Batches that the event log is behind.", float64(c.eventLag.Load()))
	gauge("free_octets", "Octets free on the disk at the last look.", float64(m.s.free.Load()))
	for i := range reasons {
		out <- prometheus.MustNewConstMetric(desc("syncs_total", "Syncs by reason.", "reason"),
			prometheus.CounterValue, float64(c.syncs[i].Load()), reasonNames[i])
	}
	emit(out, desc("batch_messages", "Messages per batch."), &c.batchSize, sizeBounds[:], 1)
	emit(out, desc("sync_seconds", "Time of one sync."), &c.syncTime, syncBounds[:], 1e-9)
	c.mu.Lock()
	for k, n := range c.findings {
		out <- prometheus.MustNewConstMetric(desc("findings_total", "What recovery and audit found.", "kind"),
			prometheus.CounterValue, float64(n), string(k))
	}
	c.mu.Unlock()
	m.ledger(out)
}

func emit(out chan<- prometheus.Metric, d *prometheus.Desc, h *histogram, bounds []float64, unit float64) {
	buckets := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, b := range bounds {
		n += h.counts[i].Load()
		buckets[b] = n
	}
	n += h.counts[len(bounds)].Load()
	out <- prometheus.MustNewConstHistogram(d, n, float64(h.sum.Load())*unit, buckets)
}

// ledger shows the sum over all tenants: labels stay bounded.
func (m collector) ledger(out chan<- prometheus.Metric) {
	l := m.s.Ledger()
	t := l.Total()
	d := desc("ledger_recipients", "Recipients by place in the ledger, all tenants.", "place")
	show := func(place string, v int64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), place)
	}
	for k, name := range [5]string{"source_other", "source_inbound", "source_trusted", "source_submitted", "source_generated"} {
		show(name, t.Sources[k])
	}
	show("delivered", t.Terminal[envelope.Delivered])
	show("bounced", t.Terminal[envelope.Bounced])
	show("dsn_suppressed", t.Terminal[envelope.DSNSuppressed])
	show("discarded", t.Terminal[envelope.Discarded])
	show("deleted", t.Terminal[envelope.Deleted])
	show("live", t.Live)
	show("held", t.Held)
	show("lost", t.Lost)
	show("difference", t.Difference())
}
