package queue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
)

// silent makes every next hop whose name begins with "dead" hold its lane for
// five minutes, as a peer without a greeting does.
func silent(t try, _ *envelope.Envelope) []envelope.Outcome {
	if strings.HasPrefix(t.hop, "dead") {
		time.Sleep(5 * time.Minute) // the bubble's clock
		return all(t, envelope.AdviceDefer, cause.ConnectTimeout)
	}
	return all(t, envelope.AdviceDelivered, cause.None)
}

func TestNextHopsThatDoNotAnswerLeaveHalfOfTheLanesToThoseThatDo(t *testing.T) {
	inBubble(t, func(c *Config, _ *rig) { c.MaxLanes = 20 }, func(t *testing.T, r *rig) {
		r.net.answer = silent
		r.Start()
		first := r.offer("bob@good.test")
		r.after(time.Second)
		r.wantState(first.ID, envelope.Delivered)
		r.after(10 * time.Minute) // its lane is closed, and it is not forgotten
		for i := range 200 {
			for range 3 {
				r.offer(fmt.Sprintf("bob@dead%d.test", i))
			}
		}
		r.after(time.Second)
		for range 30 {
			env := r.offer("bob@good.test")
			r.after(time.Second)
			r.wantState(env.ID, envelope.Delivered)
		}
		dead := 0
		for hop, n := range r.net.open {
			if strings.HasPrefix(hop, "dead") {
				dead += n
			}
		}
		if dead != 10 {
			t.Errorf("%d of 20 lanes are with next hops that do not answer, want 10", dead)
		}
		r.net.set(func() { r.net.answer = nil }) // all of them wake up
		r.after(24 * time.Hour)
		if n := r.numbers(); n.items != 0 || n.lanes != 0 || r.strange != 0 || r.ring.n() != 0 {
			t.Errorf("left behind: %+v, %d strange lanes, %d in the ring", n, r.strange, r.ring.n())
		}
	})
}

func TestANextHopThatFallsSilentGivesItsShareBack(t *testing.T) {
	inBubble(t, func(c *Config, _ *rig) { c.MaxLanes = 4 }, func(t *testing.T, r *rig) {
		r.net.answer = silent
		r.Start()
		for i := range 8 { // all are strangers, and half of the lanes is theirs
			r.offer(fmt.Sprintf("bob@dead%d.test", i))
			r.offer(fmt.Sprintf("bob@good%d.test", i))
		}
		r.after(time.Hour)
		for i := range 8 {
			if h := r.byKey[fmt.Sprintf("good%d.test", i)]; h != nil && (!h.known || h.items > 0) {
				t.Errorf("good%d: known %t, %d items", i, h.known, h.items)
			}
			if h := r.byKey[fmt.Sprintf("dead%d.test", i)]; h == nil || h.known || !h.down {
				t.Errorf("dead%d: %+v", i, h)
			}
		}
		if r.net.most > 4 {
			t.Errorf("%d lanes at once, the bound is 4", r.net.most)
		}
	})
}
