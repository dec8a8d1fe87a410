package queue

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/tenant"
)

func TestOfferDoesNotWaitForAnything(t *testing.T) {
	inBubble(t, func(c *Config, _ *rig) { c.MaxLanes = 3 }, func(t *testing.T, r *rig) {
		r.net.took = time.Hour
		r.Start()
		begin := time.Now()
		for range 20_000 {
			r.offer("b@b.test")
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("20,000 offers to a queue whose lanes are all busy took %v", d)
		}
		if n := r.numbers(); n.items != 20_000 || n.fresh > 4096/4+3 {
			t.Errorf("%+v", n)
		}
	})
}

func TestStopSaysThatAnAttemptDoesNotEnd(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			<-release // deaf to its context
			return all(t, envelope.AdviceDelivered, cause.None)
		}
		r.Start()
		env := r.offer("b@b.test")
		r.after(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Stop(ctx); err == nil {
			t.Error("no error")
		}
		close(release)
		r.after(0)
		r.wantState(env.ID, envelope.Delivered)
	})
}

func TestAPanicAfterADeliveryIsNoSecondDelivery(t *testing.T) {
	inBubble(t, func(c *Config, r *rig) {
		c.Report = func(context.Context, *envelope.Envelope, []envelope.Change) error { panic("defect") }
	}, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return []envelope.Outcome{
				one(0, t.hop, envelope.AdviceDelivered, cause.None), one(1, t.hop, envelope.AdviceFail, cause.PeerRcpt5xx),
			}
		}
		r.Start()
		r.offer("a@b.test", "b@b.test")
		r.after(24 * time.Hour)
		if n := len(r.net.seen()); n != 1 || r.numbers().held != 1 {
			t.Errorf("%d attempts, %+v", n, r.numbers())
		}
	})
}

func TestATransportThatPanicsAtOnceEndsOnlyItsLane(t *testing.T) {
	inBubble(t, func(c *Config, r *rig) {
		first := true
		c.Transport = TransportFunc(func(hop tenant.NextHop) Lane {
			if first {
				first = false
				panic("defect")
			}
			return r.net.Lane(hop)
		})
	}, func(t *testing.T, r *rig) {
		r.Start()
		env := r.offer("b@b.test")
		r.after(5 * time.Minute)
		r.wantState(env.ID, envelope.Delivered)
	})
}

func TestContentThatTheTransportFindsDamagedIsHeld(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return all(t, envelope.AdviceDefer, cause.LocalDamage)
		}
		r.Start()
		env := r.offer("b@b.test")
		r.after(24 * time.Hour)
		r.wantState(env.ID, envelope.Held)
		if n := len(r.net.seen()); n != 1 || r.numbers().held != 1 {
			t.Errorf("%d attempts, %+v", n, r.numbers())
		}
	})
}

func TestTheMailLogSaysWhatBecameOfEachAttempt(t *testing.T) {
	var out bytes.Buffer
	plain := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	inBubble(t, func(c *Config, _ *rig) {
		c.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: plain}))
	}, func(t *testing.T, r *rig) {
		r.net.took = 12 * time.Millisecond
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return []envelope.Outcome{
				one(0, t.hop, envelope.AdviceDelivered, cause.None), one(1, t.hop, envelope.AdviceFail, cause.PeerRcpt5xx),
				one(2, t.hop, envelope.AdviceDelivered, cause.None), one(3, t.hop, envelope.AdviceDefer, cause.PeerRcpt4xx),
			}
		}
		r.Start()
		env := r.offer("a@b.test", "b@b.test", "c@b.test", "d@b.test")
		r.after(time.Second)
		id := env.ID.String()
		want := []string{
			`level=INFO msg="queue read back" count=0 duration_ms=0`,
			`level=INFO msg=delivered id=` + id + ` next_hop=b.test host="" recipients=2 attempt=1 duration_ms=12 code=0`,
			`level=INFO msg=deferred id=` + id + ` next_hop=b.test host="" recipients=1 attempt=1 duration_ms=12 code=451 ` +
				`cause=peer-rcpt-4xx reply="451 later" error=""`,
			`level=INFO msg=refused id=` + id + ` next_hop=b.test host="" recipients=1 attempt=1 duration_ms=12 code=550 ` +
				`cause=peer-rcpt-5xx reply="550 no" error=""`,
		}
		got := strings.Split(strings.TrimSpace(out.String()), "\n")
		if !slices.Equal(got, want) {
			t.Errorf("log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestTheMetricsNameBoundsPhasesAndCauses(t *testing.T) {
	registry := prometheus.NewRegistry()
	inBubble(t, func(c *Config, _ *rig) { c.Metrics = registry }, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
		}
		r.Start()
		r.offer("b@b.test")
		r.after(time.Second)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += "," + l.GetValue()
				}
				got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
		for name, want := range map[string]float64{
			"postern_queue_items,waiting": 1, "postern_queue_items,ready": 0, "postern_queue_bound,lanes": 200,
			"postern_queue_bound_in_use,lanes": 1, "postern_queue_bound_in_use,items": 1, "postern_queue_outcomes_total,defer": 1,
			"postern_queue_causes_total,peer-rcpt-4xx": 1, "postern_queue_lanes_opened_total": 1, "postern_queue_unwritten": 0,
			"postern_queue_clock_jumped": 0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v (there: %v), want %v", name, v, ok, want)
			}
		}
	})
}

func TestABurstToANewNextHopOpensFewLanes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.took = 10 * time.Millisecond
		r.Start()
		for range 20 {
			r.offer("b@b.test")
		}
		r.after(time.Second)
		if r.net.opened < startWindow || r.net.opened > 3*startWindow {
			t.Errorf("%d lanes for 20 messages at once", r.net.opened)
		}
	})
}

// BenchmarkAMessageWithItsLogLine adds one line of the mail log, to nowhere.
func BenchmarkAMessageWithItsLogLine(b *testing.B) {
	store := &thinStore{done: make(chan struct{}), want: uint64(b.N)}
	q, err := New(Config{
		Store: store, Logger: slog.New(slog.NewJSONHandler(io.Discard, nil)), MaxFresh: 1 << 20, //nolint:sloglint // the line is to be formatted, to be measured
		Route:     func(_, _ string) tenant.NextHop { return tenant.NextHop{Key: "10.0.0.1:25"} },
		Transport: TransportFunc(func(tenant.NextHop) Lane { return &thinLane{} }),
	})
	if err != nil {
		b.Fatal(err)
	}
	q.Start()
	before := cpu()
	for range b.N {
		q.Offer(&envelope.Envelope{
			ID: store.Mark(), Forward: []envelope.Recipient{{Path: smtp.Path{Local: "bob", Domain: "example.test"}}},
		})
	}
	<-store.done
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	if err := q.Stop(context.Background()); err != nil {
		b.Fatal(err)
	}
}
