package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is a log's output that a test can read and block.
type output struct {
	mu     sync.Mutex
	b      bytes.Buffer
	writes int
	gate   chan struct{} // nil: open
	err    error
}

func (o *output) Write(p []byte) (int, error) {
	if o.gate != nil {
		<-o.gate
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes++
	if o.err != nil {
		return 0, o.err
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func start(t *testing.T, c Config) *Telemetry {
	t.Helper()
	tel, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

func TestALineIsWrittenWithinATenthOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		tel := start(t, Config{Output: &out})
		for range 50 {
			tel.Logger.Info("message taken", KeyID, "X")
		}
		time.Sleep(99 * time.Millisecond) // the bubble's clock: no real time passes
		synctest.Wait()
		if out.String() != "" {
			t.Errorf("written early: %q", out.String())
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := strings.Count(out.String(), "\n"); got != 50 || out.writes != 1 {
			t.Errorf("%d lines in %d writes, want 50 in 1", got, out.writes)
		}
		if err := tel.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAHalfFullBufferIsWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		tel := start(t, Config{Output: &out, LogBuffer: 1000})
		tel.Logger.Info("long", KeyReason, strings.Repeat("x", 600))
		synctest.Wait()
		if !strings.Contains(out.String(), "xxx") {
			t.Error("not written")
		}
		_ = tel.Close(t.Context())
	})
}

func TestABlockedOutputCostsLinesAndNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := output{gate: make(chan struct{})}
		tel := start(t, Config{Output: &out, LogBuffer: 2000})
		began := time.Now()
		for i := range 1000 {
			tel.Logger.Info("message taken", KeyCount, i)
			if i%10 == 0 {
				synctest.Wait() // lets the writer run into the blocked output
			}
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("logging waited %v", d)
		}
		dropped := tel.log.dropped.Load()
		if dropped == 0 {
			t.Fatal("nothing was dropped: the test shows nothing")
		}
		close(out.gate)
		time.Sleep(time.Second)
		synctest.Wait()
		if err := tel.Close(t.Context()); err != nil {
			t.Error(err)
		}
		got := out.String()
		if lines := strings.Count(got, `msg="message taken"`); uint64(lines)+dropped != 1000 {
			t.Errorf("%d lines written and %d dropped of 1000", lines, dropped)
		}
		// The first line about it may not have fitted either; it counts too.
		if want := fmt.Sprintf(`level=WARN msg="log lines dropped" count=%d`, tel.log.dropped.Load()); !strings.Contains(got, want) {
			t.Errorf("the log does not say %q:\n%s", want, got[max(0, len(got)-300):])
		}
	})
}

func TestCloseWritesWhatWaitsAndGivesUpOnABlockedOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		tel := start(t, Config{Output: &out})
		tel.Logger.Info("last words")
		if err := tel.Close(t.Context()); err != nil || !strings.Contains(out.String(), "last words") {
			t.Errorf("Close: %v, output %q", err, out.String())
		}
		if tel.Close(t.Context()) == nil {
			t.Error("second Close gave no error")
		}
		tel.Logger.Info("too late")
		if tel.log.dropped.Load() != 1 {
			t.Error("a line after Close was not counted as dropped")
		}

		blocked := output{gate: make(chan struct{})}
		tel = start(t, Config{Output: &blocked})
		tel.Logger.Info("stuck")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := tel.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close of a blocked log: %v", err)
		}
		close(blocked.gate)
	})
}

func TestAFailingOutputIsCounted(t *testing.T) {
	out := output{err: io.ErrShortWrite}
	tel := start(t, Config{Output: &out})
	tel.Logger.Info("one")
	tel.Logger.Info("two")
	_ = tel.Close(t.Context())
	if got := tel.log.dropped.Load(); got != 2 {
		t.Errorf("%d lines counted, want 2", got)
	}
}

func TestLinesOfManyWritersStayWhole(t *testing.T) {
	var out output
	tel := start(t, Config{Output: &out, LogBuffer: 64 << 20})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				tel.Logger.Info("line", KeySession, w, KeyCount, i)
			}
		})
	}
	wg.Wait()
	_ = tel.Close(t.Context())
	whole := regexp.MustCompile(`^time=\S+Z level=INFO msg=line session=\d count=\d+$`)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4000 {
		t.Errorf("%d lines, want 4000", len(lines))
	}
	for _, l := range lines {
		if !whole.MatchString(l) {
			t.Fatalf("torn line %q", l)
		}
	}
}

func TestJSONLinesAreJSONAndUnknownFormatsAreRefused(t *testing.T) {
	var out output
	level := new(slog.LevelVar)
	tel := start(t, Config{Output: &out, Format: JSON, Level: level})
	tel.Logger.Debug("unseen")
	level.Set(slog.LevelDebug)
	tel.Logger.With(KeyTenant, "t").WithGroup("g").Debug("seen", Milliseconds(1500*time.Microsecond))
	_ = tel.Close(t.Context())
	var line struct {
		Msg, Tenant string
		Time        time.Time
		G           struct {
			DurationMS float64 `json:"duration_ms"`
		}
	}
	if err := json.Unmarshal([]byte(out.String()), &line); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	if line.Msg != "seen" || line.Tenant != "t" || line.G.DurationMS != 1.5 || line.Time.Location() != time.UTC {
		t.Errorf("line is %+v", line)
	}
	if _, err := New(Config{Format: "xml"}); err == nil {
		t.Error("format xml was taken")
	}
}

func gather(t *testing.T, tel *Telemetry) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]*dto.MetricFamily{}
	for _, f := range families {
		m[f.GetName()] = f
	}
	return m
}

func TestALabelHasAClosedSetOfValues(t *testing.T) {
	tel := Discard()
	c := tel.Counters("postern_test_total", "Test.", Label{"verb", []string{"mail", "rcpt"}}, Label{"code", []string{"250"}})
	for i := range 1000 {
		c.With(fmt.Sprint("verb", i), "250").Inc()
	}
	c.With("mail").Inc()
	c.With("mail", "250", "extra").Inc()
	h := tel.Histograms("postern_test_seconds", "Test.", Seconds(), Label{"verb", []string{"mail"}})
	h.With("MAIL").Observe(1)
	got := map[string]float64{}
	for _, m := range gather(t, tel)["postern_test_total"].GetMetric() {
		got[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	want := map[string]float64{"other 250": 1000, "mail other": 1, "mail 250": 1}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counters are %v, want %v", got, want)
	}
	if l := gather(t, tel)["postern_test_seconds"].GetMetric()[0].GetLabel()[0].GetValue(); l != Other {
		t.Errorf("histogram's label is %q", l)
	}
}

func TestASecondMetricOfANameIsLoggedAndCounts(t *testing.T) {
	var out output
	tel := start(t, Config{Output: &out})
	tel.Counter("postern_twice_total", "Test.").Inc()
	tel.Gauge("postern_twice_total", "Test.").Inc()
	_ = tel.Close(t.Context())
	if !strings.Contains(out.String(), `level=ERROR msg="metric not exported" metric=postern_twice_total`) {
		t.Errorf("log: %s", out.String())
	}
}

func TestANodeTellsOfItself(t *testing.T) {
	tel := start(t, Config{Output: io.Discard})
	defer tel.Close(context.Background())
	m := gather(t, tel)
	for _, name := range []string{"postern_build_info", "postern_log_dropped_total", "postern_log_buffer_octets", "go_goroutines"} {
		if m[name] == nil {
			t.Errorf("%s is not exported", name)
		}
	}
	b := Build()
	if b.Version == "" || b.Go == "" || !strings.HasPrefix(b.String(), "postern "+b.Version) {
		t.Errorf("build is %+v, %q", b, b)
	}
}

func TestNoTelemetryIsUsable(t *testing.T) {
	var tel *Telemetry
	tel.Log().Info("nothing")
	tel.Counter("a_total", "A.").Inc()
	tel.Counters("b_total", "B.", Label{"l", nil}).With("x").Inc()
	tel.GaugeFunc("c", "C.", func() float64 { return 1 })
	tel.CounterFunc("d_total", "D.", func() float64 { return 1 })
	tel.Histogram("e", "E.", Seconds()).Observe(1)
	tel.Register("f", prometheus.NewGauge(prometheus.GaugeOpts{Name: "f"}))
	if err := tel.Close(t.Context()); err != nil {
		t.Error(err)
	}
	Discard().Log().Info("nothing")
}

func TestKeysAreDifferentAndOfOneForm(t *testing.T) {
	seen := map[string]bool{}
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for _, k := range keysOf(t) {
		if seen[k] || !form.MatchString(k) {
			t.Errorf("key %q: twice, or not lower_case", k)
		}
		seen[k] = true
	}
	for _, k := range []string{"session", "id", "reverse_path", "next_hop", "code", "enhanced", "disposition", "duration_ms"} {
		if !seen[k] {
			t.Errorf("no key %q", k)
		}
	}
}

func TestFailPointsAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	form := regexp.MustCompile(`^[a-z]+(\.[a-z0-9-]+)+$`)
	for _, name := range FailPoints() {
		if seen[name] || !form.MatchString(name) {
			t.Errorf("fail point %q: twice, or not of the form", name)
		}
		seen[name] = true
	}
	if len(seen) < 20 {
		t.Errorf("%d fail points, want 20 or more", len(seen))
	}
}

func BenchmarkALine(b *testing.B) {
	tel, err := New(Config{Output: io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	defer tel.Close(context.Background())
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		tel.Logger.LogAttrs(ctx, slog.LevelInfo, "message taken",
			slog.String(KeyID, "0123456789ABCDEFGHJKMNPQRS"), slog.String(KeyTenant, "example"),
			slog.String(KeyReversePath, "alice@example.test"), slog.Int(KeyRecipients, 1), slog.Int64(KeyOctets, 5120),
			Milliseconds(2*time.Millisecond))
	}
}
