package queue

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

func TestADeliveryThatCantBeWrittenIsNotRepeated(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.store.failure = errDisk
		r.Start()
		env := r.offer("b@b.test")
		r.after(10 * time.Minute)
		r.wantState(env.ID, envelope.Queued)
		if r.counter.unwritten.Load() != 1 || r.counter.applyFailed.Load() < 100 {
			t.Errorf("unwritten %d, failed %d", r.counter.unwritten.Load(), r.counter.applyFailed.Load())
		}
		r.store.set(func() { r.store.failure = nil })
		r.after(5 * time.Second)
		r.wantState(env.ID, envelope.Delivered)
		if n := len(r.net.seen()); n != 1 || r.counter.unwritten.Load() != 0 {
			t.Errorf("%d deliveries, unwritten %d", n, r.counter.unwritten.Load())
		}
	})
}

func TestADeferralThatCantBeWrittenDoesNotHoldTheLane(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
		}
		r.store.failure = errDisk
		r.Start()
		r.offer("b@b.test")
		r.after(0)
		if n := r.numbers(); n.waiting != 1 || n.active != 0 {
			t.Errorf("%+v", n)
		}
	})
}

func TestAReportThatCantBeWrittenLeavesTheRefusedQueued(t *testing.T) {
	var mended atomic.Bool
	inBubble(t, func(c *Config, r *rig) {
		c.Report = func(ctx context.Context, _ *envelope.Envelope, ended []envelope.Change) error {
			if !mended.Load() {
				return errDisk
			}
			return r.store.Apply(ctx, ended)
		}
	}, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			if len(t.rcpts) == 1 {
				return all(t, envelope.AdviceFail, cause.PeerRcpt5xx)
			}
			ok := one(0, t.hop, envelope.AdviceDelivered, cause.None)
			ok.Relayed = true
			return []envelope.Outcome{ok, one(1, t.hop, envelope.AdviceFail, cause.PeerRcpt5xx)}
		}
		r.Start()
		env := r.store.accept("a@b.test", "b@b.test")
		env.Forward[0].Params.Notify = smtp.NotifySuccess
		r.Offer(env)
		r.after(time.Second)
		r.wantState(env.ID, envelope.Delivered, envelope.Queued)
		mended.Store(true)
		r.after(10 * time.Minute)
		r.wantState(env.ID, envelope.Delivered, envelope.Bounced)
	})
}

func TestALostOfferIsFoundByTheScan(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.Start()
		r.after(0)
		env := r.store.accept("b@b.test") // and no Offer
		r.after(59 * time.Second)
		r.wantState(env.ID, envelope.Queued)
		r.after(2 * time.Second)
		r.wantState(env.ID, envelope.Delivered)
		if r.counter.repaired.Load() != 1 {
			t.Errorf("repaired %d", r.counter.repaired.Load())
		}
	})
}

func TestAnOfferThatCameLaterThanTheScanIsNoSecondDelivery(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			if t.hop == "slow.test" {
				return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
			}
			return all(t, envelope.AdviceDelivered, cause.None)
		}
		r.Start()
		r.after(59 * time.Second)
		env := r.store.accept("a@a.test", "b@slow.test")
		r.after(2 * time.Second) // the scan found it, a@a.test has it
		r.wantState(env.ID, envelope.Delivered, envelope.Queued)
		r.Offer(env)
		r.after(time.Second)
		if n := len(r.net.seen()); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
}

func TestWhatIsBeyondTheBoundOnItemsStaysInTheStore(t *testing.T) {
	inBubble(t, func(c *Config, _ *rig) { c.MaxItems, c.MaxFresh = 10, 3 }, func(t *testing.T, r *rig) {
		r.net.took = time.Second
		r.Start()
		var ids []envelope.ID
		for range 30 {
			ids = append(ids, r.offer("b@b.test").ID)
		}
		if n := r.numbers(); n.items != 10 || n.fresh > 3 {
			t.Errorf("%+v", n)
		}
		r.after(5 * time.Minute)
		for _, id := range ids {
			r.wantState(id, envelope.Delivered)
		}
	})
}

func TestWhatEarlierRunsLeftIsReadBack(t *testing.T) {
	var old []*envelope.Envelope
	var later, heldBack *envelope.Envelope
	inBubble(t, func(_ *Config, r *rig) {
		for range 50 {
			old = append(old, r.store.accept("b@b.test"))
		}
		later = r.store.accept("l@b.test")
		r.store.live[later.ID].statuses[0].NextAttempt = time.Now().Add(30 * time.Minute)
		r.store.live[later.ID].statuses[0].Attempts = 3
		heldBack = r.store.accept("h@b.test")
		r.store.live[heldBack.ID].statuses[0].State = envelope.Held
	}, func(t *testing.T, r *rig) {
		young := r.store.accept("b@b.test") // committed, its Offer is on its way
		r.Start()
		r.after(0)
		for _, env := range old {
			r.wantState(env.ID, envelope.Delivered)
		}
		r.wantState(young.ID, envelope.Queued)
		r.Offer(young)
		r.after(0)
		r.wantState(young.ID, envelope.Delivered)
		r.after(29 * time.Minute)
		r.wantState(later.ID, envelope.Queued)
		r.after(time.Minute)
		r.wantState(later.ID, envelope.Delivered)
		r.after(24 * time.Hour)
		r.wantState(heldBack.ID, envelope.Held)
		if r.numbers().held != 1 {
			t.Errorf("%+v", r.numbers())
		}
	})
}

func TestAWallThatWasSetBackDelaysMailByHoursNotYears(t *testing.T) {
	var env *envelope.Envelope
	inBubble(t, func(_ *Config, r *rig) {
		env = r.store.accept("b@b.test")
		r.store.live[env.ID].statuses[0].NextAttempt = time.Now().AddDate(10, 0, 0)
	}, func(t *testing.T, r *rig) {
		r.Start()
		r.after(5 * time.Hour)
		r.wantState(env.ID, envelope.Delivered)
	})
}

func TestNothingExpiresAfterAWallJumpUntilItIsConfirmed(t *testing.T) {
	var jump atomic.Int64
	inBubble(t, func(c *Config, _ *rig) {
		c.Clock = func() time.Time { return time.Now().Add(time.Duration(jump.Load())).Round(0) }
	}, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			if t.hop == "dead.test" {
				return all(t, envelope.AdviceDefer, cause.ConnectTimeout)
			}
			return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
		}
		r.Start()
		a, b := r.offer("b@b.test"), r.offer("d@dead.test")
		c := r.offer("d@dead.test")
		r.after(time.Minute)
		jump.Store(int64(10 * 365 * 24 * time.Hour))
		r.after(24 * time.Hour)
		r.wantState(a.ID, envelope.Queued)
		r.wantState(b.ID, envelope.Queued)
		r.wantState(c.ID, envelope.Queued)
		if d, jumped := r.ClockJump(); !jumped || d != time.Duration(jump.Load()) {
			t.Errorf("jump %v %v", d, jumped)
		}
		jump.Store(int64(30 * time.Minute)) // set right again, nearly: believed
		r.after(time.Hour)
		if _, jumped := r.ClockJump(); jumped {
			t.Error("a clock that came back is not believed")
		}
		r.wantState(a.ID, envelope.Queued)
		jump.Store(int64(10 * 365 * 24 * time.Hour))
		r.after(time.Hour)
		r.ConfirmClock()
		r.after(5 * time.Hour)
		r.wantState(a.ID, envelope.DSNSuppressed)
		r.wantState(c.ID, envelope.DSNSuppressed)
	})
}

func TestAStartWithAStrangeClockExpiresNothing(t *testing.T) {
	var env *envelope.Envelope
	inBubble(t, func(c *Config, r *rig) {
		env = r.store.accept("b@b.test")
		env.Arrival.Time = time.Now().Add(-10 * 24 * time.Hour)
		c.LastSeen = time.Now().Add(-10 * 24 * time.Hour)
	}, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
		}
		r.Start()
		r.after(24 * time.Hour)
		r.wantState(env.ID, envelope.Queued)
		r.ConfirmClock()
		r.after(24 * time.Hour)
		r.wantState(env.ID, envelope.DSNSuppressed)
	})
}

func TestStopLetsAttemptsEndAndLeavesTheRest(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.took = 10 * time.Second
		r.Start()
		var ids []envelope.ID
		for range 10 {
			ids = append(ids, r.offer("b@b.test").ID)
		}
		r.after(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		delivered := 0
		for _, id := range ids {
			if r.store.states(id)[0] == envelope.Delivered {
				delivered++
			}
		}
		if delivered != startWindow {
			t.Errorf("%d delivered, %d were under way", delivered, startWindow)
		}
		if n := r.net.open["b.test"]; n != 0 {
			t.Errorf("%d lanes are open after Stop", n)
		}
	})
}

func TestStopDoesNotWaitForAttemptsThatHaltEnds(t *testing.T) {
	halted := make(chan struct{})
	inBubble(t, func(c *Config, _ *rig) { c.Halt = func() { close(halted) } }, func(t *testing.T, r *rig) {
		halted = make(chan struct{}) // of this bubble
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			<-halted
			return all(t, envelope.AdviceDefer, cause.LocalShutdown)
		}
		r.Start()
		env := r.offer("b@b.test")
		r.after(time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Stop(ctx); err != nil || time.Since(began) > 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		r.wantState(env.ID, envelope.Queued)
		if st := r.store.status(env.ID, 0); st.Attempts != 0 || r.store.applies != 0 {
			t.Errorf("an attempt that was halted was written: %+v", st)
		}
	})
}

func TestStopCutsAttemptsThatTakeTooLong(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.took = time.Hour
		r.Start()
		env := r.offer("b@b.test")
		r.after(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		r.wantState(env.ID, envelope.Queued)
		if st := r.store.status(env.ID, 0); st.Attempts != 0 || r.store.applies != 0 {
			t.Errorf("a cut attempt was written: %+v", st)
		}
	})
}

func TestSummaryAndListTellWhatWaits(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
			return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
		}
		r.Start()
		begin := time.Now()
		var ids []string
		for i := range 25 {
			env := r.offer(fmt.Sprintf("u%d@b.test", i), "x@c.test")
			ids = append(ids, env.ID.String())
		}
		r.after(time.Minute)
		s := r.Summary()
		if s.Messages != 50 || s.Waiting != 50 || len(s.Hops) != 2 || s.Octets != 50<<10 || !s.Oldest.Equal(begin.Truncate(time.Second)) || s.Loading {
			t.Errorf("summary %+v", s)
		}
		if h := s.Hops[0]; h.Waiting != 25 || h.LastReply != "451 later" || !h.Next.Equal(begin.Add(5*time.Minute)) || h.Cause == "" {
			t.Errorf("next hop %+v", h)
		}
		var got []string
		for f := (Filter{NextHop: "b.test", Limit: 10}); ; {
			p, err := r.List(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range p.Items {
				got = append(got, it.ID)
				if len(it.Recipients) != 1 || it.State != "waiting" || it.Attempts != 1 || it.Reverse != "alice@example.test" {
					t.Errorf("item %+v", it)
				}
			}
			if !p.More {
				break
			}
			f.After = p.Next
		}
		if !slices.Equal(got, ids) {
			t.Errorf("pages hold %v, want %v", got, ids)
		}
		for f, want := range map[Filter]int{
			{Forward: "U7@B.test"}: 1, {Domain: "c.test"}: 25, {Reverse: "alice@example.test"}: 50, {Reverse: "<>"}: 0,
			{Tenant: "t2"}: 0, {State: "ready"}: 0, {Tenant: "t1", State: "waiting"}: 50,
		} {
			if p, err := r.List(t.Context(), f); err != nil || len(p.Items) != want {
				t.Errorf("%+v lists %d items (%v), want %d", f, len(p.Items), err, want)
			}
		}
	})
}

// TestEveryRecipientEndsOnce lets outcomes, next hops, disk errors and lost
// offers be drawn at random, and then checks from outside.
func TestEveryRecipientEndsOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		hops := rapid.IntRange(1, 6).Draw(rt, "hops")
		lanes := rapid.IntRange(1, 8).Draw(rt, "lanes")
		seed := rapid.Uint64().Draw(rt, "seed")
		messages := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, 5), 1, 6), 1, 30).Draw(rt, "messages")
		inBubble(t, func(c *Config, _ *rig) {
			c.MaxLanes, c.MaxPerHop, c.ScanInterval, c.SweepInterval = lanes, 3, time.Hour, time.Hour
		}, func(t *testing.T, r *rig) {
			rnd := seed
			draw := func(n uint64) uint64 { rnd = rnd*6364136223846793005 + 1442695040888963407; return (rnd >> 33) % n }
			r.net.took = time.Second
			r.net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
				r.store.mu.Lock()
				defer r.store.mu.Unlock()
				if draw(10) == 0 {
					return all(t, envelope.AdviceDefer, cause.ConnectTimeout)
				}
				if draw(40) == 0 {
					panic("drawn")
				}
				out := all(t, envelope.AdviceDelivered, cause.None)
				for i := range out {
					switch draw(5) {
					case 0:
						out[i] = one(out[i].Recipient, t.hop, envelope.AdviceFail, cause.PeerRcpt5xx)
					case 1:
						out[i] = one(out[i].Recipient, t.hop, envelope.AdviceDefer, cause.PeerRcpt4xx)
					}
				}
				return out
			}
			r.Start()
			var ids []envelope.ID
			for i, m := range messages {
				var to []string
				for k, d := range m {
					to = append(to, fmt.Sprintf("u%d@d%d.test", k, d%hops))
				}
				env := r.store.accept(to...)
				ids = append(ids, env.ID)
				if i%5 != 4 {
					r.Offer(env)
				}
				if i == len(messages)/2 {
					r.store.set(func() { r.store.failure = errDisk })
					r.after(3 * time.Second)
					r.store.set(func() { r.store.failure = nil })
				}
			}
			r.after(6 * 24 * time.Hour)
			for _, id := range ids {
				for i, st := range r.store.states(id) {
					if !st.Terminal() && st != envelope.Held {
						rt.Fatalf("%v recipient %d is in state %d after 6 days", id, i, st)
					}
				}
			}
			if n := r.numbers(); n.items != n.held || n.lanes != 0 || n.fresh != 0 || len(r.claims.held) != 0 {
				rt.Fatalf("left behind: %+v, %d claims", n, len(r.claims.held))
			}
			if len(r.store.defects)+len(r.net.defects) > 0 {
				rt.Fatalf("%v %v", r.store.defects, r.net.defects)
			}
		})
	})
}
