package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Format is how log lines are written.
type Format string

// The formats.
const (
	Logfmt Format = "text" // key=value
	JSON   Format = "json"
)

// DefaultLogBuffer is the size of each of the log's two buffers, in octets.
// Chosen: about 4,000 lines, some seconds of a busy node.
const DefaultLogBuffer = 1 << 20

// Config says how a node wants to be seen. The zero value is a node's default.
type Config struct {
	Output    io.Writer    // nil: standard error
	Format    Format       // "": Logfmt
	Level     slog.Leveler // nil: info. A *slog.LevelVar can be turned while running
	LogBuffer int          // octets; below 1: DefaultLogBuffer
}

// Telemetry is handed to every room. Its methods are safe for concurrent use
// and work on nil: then nothing is exported and nothing logged.
type Telemetry struct {
	Registry *prometheus.Registry
	Logger   *slog.Logger
	log      *logWriter // nil: Discard
}

// New starts the log and a registry that knows the process, the Go runtime and
// the build. The caller calls Close.
func New(c Config) (*Telemetry, error) {
	if c.Output == nil {
		c.Output = os.Stderr
	}
	if c.LogBuffer < 1 {
		c.LogBuffer = DefaultLogBuffer
	}
	w := newLogWriter(c.Output, c.LogBuffer)
	h, err := handler(w, c)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{Registry: prometheus.NewRegistry(), Logger: slog.New(h), log: w}
	for _, col := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		constant{Build().metric()},
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "postern_log_dropped_total",
			Help: "Log lines that were dropped because the output was too slow or failed.",
		}, func() float64 { return float64(w.dropped.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "postern_log_buffer_octets",
			Help: "Octets of log lines that wait to be written.",
		}, func() float64 { return float64(w.inUse.Load()) }),
	} {
		if err := t.Registry.Register(col); err != nil {
			return nil, fmt.Errorf("register the node's own metrics: %w", err)
		}
	}
	go w.run(t.tellDropped())
	return t, nil
}

// Discard returns a Telemetry with a registry and a logger that drops all
// lines, without a goroutine. Close does nothing.
func Discard() *Telemetry {
	return &Telemetry{Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)}
}

func handler(w io.Writer, c Config) (slog.Handler, error) {
	o := &slog.HandlerOptions{Level: c.Level}
	switch c.Format {
	case "", Logfmt:
		return utc{slog.NewTextHandler(w, o)}, nil
	case JSON:
		return utc{slog.NewJSONHandler(w, o)}, nil
	}
	return nil, fmt.Errorf("log format %q: want %q or %q", c.Format, Logfmt, JSON)
}

// utc makes the time of a line UTC, whatever zone the node lives in. (As a
// ReplaceAttr this cost every attribute of every line a call.)
type utc struct{ slog.Handler }

// Handle implements slog.Handler.
func (h utc) Handle(ctx context.Context, r slog.Record) error {
	r.Time = r.Time.UTC()
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h utc) WithAttrs(attrs []slog.Attr) slog.Handler { return utc{h.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (h utc) WithGroup(name string) slog.Handler { return utc{h.Handler.WithGroup(name)} }

// tellDropped returns a func that logs how many lines were dropped since it
// last said so. The line may itself be dropped; then it is said next time.
func (t *Telemetry) tellDropped() func(uint64) {
	var told uint64
	return func(dropped uint64) {
		if dropped == told {
			return
		}
		t.Logger.Warn("log lines dropped", KeyCount, dropped-told)
		if t.log.dropped.Load() == dropped {
			told = dropped
		}
	}
}

// Close writes out the lines that wait, at most until ctx ends, and stops the
// log. Later lines are dropped. A second Close is an error.
func (t *Telemetry) Close(ctx context.Context) error {
	if t == nil || t.log == nil {
		return nil
	}
	return t.log.close(ctx)
}

// Log returns the logger, never nil.
func (t *Telemetry) Log() *slog.Logger {
	if t == nil || t.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return t.Logger
}

// Milliseconds is the attribute duration_ms, with thousandths.
func Milliseconds(d time.Duration) slog.Attr {
	return slog.Float64(KeyDurationMS, float64(d.Microseconds())/1000)
}

// constant is a collector of one metric that does not change.
type constant struct{ m prometheus.Metric }

func (c constant) Describe(ch chan<- *prometheus.Desc) { ch <- c.m.Desc() }
func (c constant) Collect(ch chan<- prometheus.Metric) { ch <- c.m }
