package queue

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/tenant"
)

func TestAFreshMessageIsDeliveredAtOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.Start()
		env := r.offer("bob@b.test")
		r.after(0)
		r.wantState(env.ID, envelope.Delivered)
		if n := r.numbers(); n.items != 0 || n.fresh != 0 {
			t.Errorf("left behind: %+v", n)
		}
	})
}

func TestADeferredMessageIsTriedAgainByTheSchedule(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
		}
		r.Start()
		begin := time.Now()
		env := r.offer("bob@b.test")
		r.after(12 * time.Hour)
		var got []time.Duration
		for _, x := range r.net.seen() {
			got = append(got, x.at.Sub(begin))
		}
		m := time.Minute
		want := []time.Duration{0, 5 * m, 15 * m, 35 * m, 75 * m, 155 * m, 315 * m, 555 * m}
		if !slices.Equal(got, want) {
			t.Errorf("attempts at %v, want %v", got, want)
		}
		if st := r.store.status(env.ID, 0); st.Attempts != 8 || !st.NextAttempt.Equal(begin.Add(795*m)) || st.Cause != cause.PeerRcpt4xx {
			t.Errorf("status %+v", st)
		}
	})
}

func TestJitterStaysWithinItsPart(t *testing.T) {
	c := Config{Jitter: 0.1}
	for range 1000 {
		if d := c.step([]time.Duration{time.Minute}, 7); d < 54*time.Second || d > 66*time.Second {
			t.Fatalf("step %v", d)
		}
	}
}

func TestAMessageExpiresAfterALastAttempt(t *testing.T) {
	var told []envelope.Change
	inBubble(t, func(c *Config, r *rig) {
		c.Report = func(ctx context.Context, _ *envelope.Envelope, ended []envelope.Change) error {
			told = append(told, ended...)
			return r.store.Apply(ctx, ended)
		}
	}, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
		}
		r.Start()
		env := r.offer("bob@b.test")
		r.after(5*24*time.Hour - time.Second)
		r.wantState(env.ID, envelope.Queued)
		r.after(2 * time.Second)
		r.wantState(env.ID, envelope.Bounced)
		if len(told) != 1 || told[0].Cause != cause.Expired || told[0].Attempt == nil || told[0].Attempt.Cause != cause.PeerRcpt4xx {
			t.Errorf("reported %+v", told)
		}
		last := r.net.seen()[len(r.net.seen())-1]
		if age := last.at.Sub(env.Arrival.Time); age != 5*24*time.Hour {
			t.Errorf("last attempt at age %v", age)
		}
	})
}

func TestALaneKeepsItsConnectionWhileMailComes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.Start()
		for range 10 {
			r.offer("bob@b.test")
			r.after(time.Second)
		}
		if r.net.opened != 1 {
			t.Errorf("%d lanes for mail that came one by one", r.net.opened)
		}
		r.after(time.Second)
		if r.net.open["b.test"] != 0 {
			t.Error("the lane is open 2 s after its last message")
		}
		r.offer("bob@b.test")
		r.after(0)
		if r.net.opened != 2 {
			t.Errorf("%d lanes opened", r.net.opened)
		}
	})
}

func TestANextHopThatIsDownIsProbedWithOneMessageAtATime(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		var up atomic.Bool
		r.net.took = time.Second
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			if !up.Load() {
				return all(t, envelope.AdviceDefer, cause.ConnectTimeout)
			}
			return all(t, envelope.AdviceDelivered, cause.None)
		}
		r.Start()
		for range 200 {
			r.offer("bob@b.test")
		}
		r.after(10 * time.Second)
		if n := len(r.net.seen()); n > startWindow {
			t.Fatalf("%d attempts before the next hop was known to be down", n)
		}
		before := len(r.net.seen())
		r.after(20 * time.Minute)
		// 30s, +1m, +2m, +5m, +10m: five probes, and 1 s each.
		if n := len(r.net.seen()) - before; n != 5 {
			t.Errorf("%d probes in 20 minutes, want 5", n)
		}
		s := r.Summary()
		if len(s.Hops) != 1 || s.Hops[0].Down.IsZero() || s.Hops[0].Ready < 190 || s.Hops[0].Cause != word(cause.ConnectTimeout) {
			t.Errorf("summary %+v", s)
		}
		up.Store(true)
		r.net.set(func() { r.net.mostHop["b.test"] = 0 })
		r.after(16 * time.Minute)
		if s := r.Summary(); s.Ready != 0 || s.Active != 0 {
			t.Errorf("after the next hop came up: %+v", s)
		}
		if most := r.net.mostHop["b.test"]; most < 2 || most > 20 {
			t.Errorf("%d lanes after the next hop came up", most)
		}
		r.after(5 * time.Hour)
		if n := r.numbers(); n.items != 0 {
			t.Errorf("%+v are left", n)
		}
	})
}

func TestANextHopThatComesUpIsGivenLanesStepByStep(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		up := time.Now().Add(31 * time.Second)
		r.net.took = time.Second
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			if time.Now().Before(up) {
				return all(t, envelope.AdviceDefer, cause.ConnectRefused)
			}
			return all(t, envelope.AdviceDelivered, cause.None)
		}
		r.Start()
		for range 100 {
			r.offer("bob@b.test")
		}
		r.after(31*time.Second + 500*time.Millisecond)
		perSecond := []int{}
		last := len(r.net.seen())
		for range 5 {
			r.after(time.Second)
			n := len(r.net.seen())
			perSecond = append(perSecond, n-last)
			last = n
		}
		if !slices.Equal(perSecond, []int{2, 4, 8, 16, 20}) {
			t.Errorf("messages begun in each second after the probe: %v", perSecond)
		}
	})
}

func TestMailForADeadNextHopExpiresWithoutAttempts(t *testing.T) {
	hourly := func(c *Config, _ *rig) { c.ScanInterval = time.Hour }
	inBubble(t, hourly, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return all(t, envelope.AdviceDefer, cause.ConnectTimeout)
		}
		r.Start()
		var ids []envelope.ID
		for range 1000 {
			ids = append(ids, r.offer("bob@b.test").ID)
		}
		r.after(5*24*time.Hour + 2*time.Minute)
		for _, id := range ids {
			r.wantState(id, envelope.DSNSuppressed)
		}
		if n := len(r.net.seen()); n > 800 {
			t.Errorf("%d attempts for a dead next hop in 5 days", n)
		}
		r.after(20 * time.Minute)
		if len(r.byKey) != 0 {
			t.Error("the next hop is still kept")
		}
	})
}

func TestLanesAreBounded(t *testing.T) {
	inBubble(t, func(c *Config, _ *rig) { c.MaxLanes, c.MaxPerHop = 30, 20 }, func(t *testing.T, r *rig) {
		r.net.took = time.Second
		r.Start()
		for i := range 400 {
			r.offer(fmt.Sprintf("bob@d%d.test", i%4))
		}
		r.after(time.Hour)
		if r.net.most > 30 || r.net.most < 25 {
			t.Errorf("%d lanes at once, the bound is 30", r.net.most)
		}
		for hop, n := range r.net.mostHop {
			if n > 20 {
				t.Errorf("%d lanes to %s", n, hop)
			}
		}
		if n := r.numbers(); n.items != 0 || n.lanes != 0 || r.ring.n() != 0 || r.strange != 0 || r.evicting != 0 {
			t.Errorf("left behind: %+v", n)
		}
	})
}

func TestANextHopsOwnBoundIsKept(t *testing.T) {
	inBubble(t, func(c *Config, _ *rig) {
		c.Route = func(_, domain string) tenant.NextHop { return tenant.NextHop{Key: domain, MaxConnections: 2} }
	}, func(t *testing.T, r *rig) {
		r.net.took = time.Second
		r.Start()
		for range 50 {
			r.offer("bob@b.test")
		}
		r.after(time.Hour)
		if r.net.most != 2 {
			t.Errorf("%d lanes at once, the bound is 2", r.net.most)
		}
	})
}

func TestScarceLanesAreSharedInTurn(t *testing.T) {
	inBubble(t, func(c *Config, _ *rig) { c.MaxLanes = 4 }, func(t *testing.T, r *rig) {
		r.net.took = 10 * time.Millisecond
		r.Start()
		const hops, each = 8, 1000
		for i := range hops {
			for range each {
				r.offer(fmt.Sprintf("bob@d%d.test", i))
			}
		}
		r.after(10 * time.Second) // half of the time that all of it takes
		by := map[string]int{}
		for _, x := range r.net.seen() {
			by[x.hop]++
		}
		for i := range hops {
			if n := by[fmt.Sprintf("d%d.test", i)]; n < 450 || n > 550 {
				t.Errorf("next hop %d got %d of 4,000 turns; all: %v", i, n, by)
			}
		}
	})
}

func TestAQuietNextHopDoesNotWaitBehindIdleLanes(t *testing.T) {
	inBubble(t, func(c *Config, _ *rig) { c.MaxLanes = 5 }, func(t *testing.T, r *rig) {
		r.net.took = 10 * time.Millisecond
		r.Start()
		for i := range 5 {
			r.offer(fmt.Sprintf("bob@d%d.test", i))
		}
		r.after(20 * time.Millisecond) // five idle lanes now
		env := r.offer("bob@new.test")
		r.after(11 * time.Millisecond)
		r.wantState(env.ID, envelope.Delivered)
	})
}

func TestOutcomesBecomeChanges(t *testing.T) {
	var told []envelope.Change
	inBubble(t, func(c *Config, r *rig) {
		c.Report = func(ctx context.Context, _ *envelope.Envelope, ended []envelope.Change) error {
			told = append(told, ended...)
			return r.store.Apply(ctx, ended)
		}
	}, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			relayed := one(2, t.hop, envelope.AdviceDelivered, cause.None)
			relayed.Relayed = true
			return []envelope.Outcome{
				one(0, t.hop, envelope.AdviceDelivered, cause.None), one(1, t.hop, envelope.AdviceFail, cause.PeerRcpt5xx),
				relayed, one(3, t.hop, envelope.AdviceDefer, cause.PeerRcpt4xx),
			}
		}
		r.Start()
		env := r.store.accept("a@b.test", "b@b.test", "c@b.test", "d@b.test")
		env.Forward[2].Params.Notify = smtp.NotifySuccess
		r.Offer(env)
		r.after(0)
		r.wantState(env.ID, envelope.Delivered, envelope.Bounced, envelope.Delivered, envelope.Queued)
		if len(told) != 2 || told[0].Recipient != 1 || told[0].To != envelope.Bounced || told[1].Recipient != 2 || told[1].To != envelope.Delivered {
			t.Errorf("reported %+v", told)
		}
		r.after(5 * time.Minute)
		if got := r.net.seen(); len(got) != 2 || !slices.Equal(got[1].rcpts, []int{3}) {
			t.Errorf("tries %+v", got)
		}
	})
}

func TestRecipientsThatAreTooManyAreTriedAgainAtOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			out := all(t, envelope.AdviceDelivered, cause.None)
			for i := 10; i < len(out); i++ {
				out[i] = one(t.rcpts[i], t.hop, envelope.AdviceDefer, cause.PeerRcpt4xx)
				out[i].Attempt.Reply.Code = 452 + 100*(i%2) // RFC 5321 section 4.5.3.1.10: 552 means the same
			}
			return out
		}
		r.Start()
		var to []string
		for i := range 250 {
			to = append(to, fmt.Sprintf("u%d@b.test", i))
		}
		env := r.offer(to...)
		r.after(0)
		for i, st := range r.store.states(env.ID) {
			if st != envelope.Delivered {
				t.Fatalf("recipient %d is %d", i, st)
			}
		}
		if n := len(r.net.seen()); n != 25 {
			t.Errorf("%d transactions for 250 recipients, 10 at a time", n)
		}
	})
}

func TestATransportWithoutAnOutcomeDefers(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return []envelope.Outcome{one(1, t.hop, envelope.AdviceDelivered, cause.None)}
		}
		r.Start()
		env := r.offer("a@b.test", "b@b.test")
		r.after(0)
		r.wantState(env.ID, envelope.Queued, envelope.Delivered)
		if st := r.store.status(env.ID, 0); st.Cause != cause.LocalInternal {
			t.Errorf("cause %d", st.Cause)
		}
	})
}

func TestAMessageWithTwoNextHopsGoesToBothAtOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.took = time.Second
		r.Start()
		env := r.offer("a@a.test", "b@b.test", "c@a.test")
		r.after(time.Second)
		r.wantState(env.ID, envelope.Delivered, envelope.Delivered, envelope.Delivered)
		got := r.net.seen()
		if len(got) != 2 || !got[0].at.Equal(got[1].at) {
			t.Errorf("tries %+v", got)
		}
		if len(r.claims.held) != 0 {
			t.Error("a claim is left")
		}
	})
}

func TestAChangedRouteIsFollowedAtTheNextAttempt(t *testing.T) {
	var to atomic.Value
	to.Store("old")
	inBubble(t, func(c *Config, _ *rig) {
		c.Route = func(_, domain string) tenant.NextHop {
			if domain == "b.test" {
				return tenant.NextHop{Key: to.Load().(string)}
			}
			return tenant.NextHop{Key: domain}
		}
	}, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			if t.hop == "old" {
				return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
			}
			return all(t, envelope.AdviceDelivered, cause.None)
		}
		r.Start()
		env := r.offer("b@b.test", "c@c.test")
		r.after(time.Second)
		r.wantState(env.ID, envelope.Queued, envelope.Delivered)
		to.Store("new")
		r.after(5 * time.Minute)
		r.wantState(env.ID, envelope.Delivered, envelope.Delivered)
		if n := r.numbers(); n.items != 0 {
			t.Errorf("left behind: %+v", n)
		}
	})
}

func TestMailThatWaitsFollowsAChangedRouteSoon(t *testing.T) {
	var to atomic.Value
	to.Store("old")
	inBubble(t, func(c *Config, _ *rig) {
		c.MaxPerHop = 1
		c.Route = func(_, domain string) tenant.NextHop {
			switch domain {
			case "b.test", "d.test":
				return tenant.NextHop{Key: to.Load().(string)}
			}
			return tenant.NextHop{Key: domain}
		}
	}, func(t *testing.T, r *rig) {
		hang := make(chan struct{})
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			switch t.hop {
			case "old":
				return all(t, envelope.AdviceDefer, cause.ConnectRefused)
			case "slow.test":
				<-hang
			case "c.test":
				return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
			}
			return all(t, envelope.AdviceDelivered, cause.None)
		}
		r.Start()
		waiting := r.offer("b@b.test", "c@c.test", "d@d.test")
		r.after(time.Second)
		ready := r.offer("b@b.test") // the next hop is down
		under := r.offer("b@b.test", "s@slow.test")
		r.after(time.Second)
		to.Store("new")
		r.Rerouted()
		r.after(time.Second)
		r.wantState(waiting.ID, envelope.Delivered, envelope.Queued, envelope.Delivered)
		r.wantState(ready.ID, envelope.Delivered)
		r.wantState(under.ID, envelope.Queued, envelope.Queued) // a part of it is under way
		if n := r.numbers(); n.items != 3 || n.waiting != 1 || n.ready != 1 || n.active != 1 {
			t.Errorf("after the move: %+v", n)
		}
		for _, x := range r.net.seen() {
			if x.hop == "new" && x.id == waiting.ID && len(x.rcpts) != 2 {
				t.Errorf("the new next hop was given recipients %v", x.rcpts)
			}
		}
		close(hang)
		r.after(time.Hour)
		r.wantState(under.ID, envelope.Delivered, envelope.Delivered)
		r.net.set(func() { r.net.answer = nil })
		r.after(5 * time.Hour)
		if n := r.numbers(); n.items != 0 {
			t.Errorf("left behind: %+v", n)
		}
	})
}

func TestAPanicHoldsTheMessageAfterThreeAttempts(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		var bad envelope.ID
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			if t.id == bad {
				panic("defect")
			}
			return all(t, envelope.AdviceDelivered, cause.None)
		}
		r.Start()
		env := r.store.accept("b@b.test")
		bad = env.ID
		r.Offer(env)
		good := r.offer("b@b.test")
		r.after(time.Second)
		r.wantState(good.ID, envelope.Delivered)
		r.after(time.Hour)
		r.wantState(env.ID, envelope.Held)
		if n := len(r.net.seen()); n != 4 {
			t.Errorf("%d attempts, want 3 and the good one", n)
		}
		if r.counter.panics.Load() != 3 || len(r.claims.held) != 0 || r.numbers().held != 1 {
			t.Errorf("panics %d, claims %v, %+v", r.counter.panics.Load(), r.claims.held, r.numbers())
		}
		if p, err := r.List(t.Context(), Filter{State: "held"}); err != nil || len(p.Items) != 1 || p.Items[0].ID != bad.String() {
			t.Errorf("list of held: %+v, %v", p, err)
		}
	})
}

func TestADamagedMessageIsHeld(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		env := r.store.accept("b@b.test")
		r.store.broken = ErrDamaged
		r.Start()
		r.Offer(env)
		r.after(0)
		r.wantState(env.ID, envelope.Held)
		if len(r.net.seen()) != 0 {
			t.Error("damaged content was given to a next hop")
		}
	})
}

func TestAnUnreadableMessageIsTriedLater(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		env := r.store.accept("b@b.test")
		r.store.broken = errDisk
		r.Start()
		r.Offer(env)
		r.after(time.Minute)
		r.wantState(env.ID, envelope.Queued)
		r.store.set(func() { r.store.broken = nil })
		r.after(5 * time.Minute)
		r.wantState(env.ID, envelope.Delivered)
	})
}
