package drill

import (
	"context"
	"time"

	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/internal/drill/rig"
	"github.com/postern-mail/postern/internal/telemetry"
)

// abuse is D22: clients that bend the protocol.
func abuse() scenario {
	return scenario{
		Entry: Entry{
			Name: "D22", Title: "protocol abuse",
			Fault: "look-alikes of the end of data, bare LF and CR, early talk, BDAT mixes, NUL, lines of 1 MB, random sessions",
			Bar:   "0 smuggled, 0 crashes, memory and descriptors bounded afterwards",
		},
		parts: []part{
			{name: "look-alikes", what: "Everything that some server has taken for the end of data stands inside content, with a second message behind it; one next hop is strict, one lenient.", run: lookAlikes},
			{name: "bent-verbs", what: "Early talk, commands behind STARTTLS, BDAT mixes, NUL, lines of 1 MB, floods of commands and recipients.", run: bentVerbs},
			{name: "random", what: "Random sessions: bent commands, and content out of look-alikes and commands.", run: randomSessions},
			{name: "look-alikes, lenient LF", what: "Control: a bare LF ends lines, inside content too.", weakness: telemetry.LenientLF, run: lookAlikes},
		},
	}
}

// The next hops of D22: a strict one that takes BDAT, one that takes only
// DATA, and one that falls for every look-alike.
const (
	strictDomain  = goodDomain
	dataDomain    = "data.drill.test"
	lenientDomain = "lenient.drill.test"
)

// abused is a node with three next hops.
type abused struct {
	*world
	sinks    []*oracle.Sink
	domains  []string
	baseline rig.Footprint
}

func newAbused(ctx context.Context, s *stage) (*abused, error) {
	w, err := newWorld(s, worldConfig{yaml: abuseFile})
	if err != nil {
		return nil, err
	}
	a := &abused{world: w, sinks: []*oracle.Sink{w.sink}, domains: []string{strictDomain, dataDomain, lenientDomain}}
	for _, c := range []oracle.SinkConfig{{NoChunking: true}, {Lenient: true, NoChunking: true}} {
		sink, err := oracle.NewSink(c)
		if err != nil {
			a.close()
			return nil, err
		}
		a.sinks = append(a.sinks, sink)
	}
	var hops []rig.Hop
	for i, d := range a.domains {
		hops = append(hops, rig.Hop{Domain: d, Addr: a.sinks[i].Addr()})
	}
	w.node.Tenants = rig.Tenants("", hops...)
	if err := w.node.WriteFiles(); err != nil {
		a.close()
		return nil, err
	}
	if err := w.node.Start(ctx); err != nil {
		a.close()
		return nil, err
	}
	if a.baseline, err = w.node.Footprint(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *abused) close() {
	a.world.close()
	for _, s := range a.sinks[1:] {
		s.Close()
	}
}

// smuggledWord begins the recipients that stand only inside content: whatever
// arrives for one was smuggled.
const smuggledWord = "smuggled"

// verdict waits until the queue is empty and looks at what the next hops got,
// at the node's health, and at what it holds.
func (a *abused) verdict(ctx context.Context) error {
	if !a.node.Running() {
		a.finding("the node ended with %s; its log ends: %s", a.node.State(), a.node.LogTail(1500))
		return nil
	}
	if err := a.drained(ctx); err != nil {
		return err
	}
	messages := 0
	for i, sink := range a.sinks {
		for _, got := range sink.Arrivals() {
			messages++
			if hasWord(got.Recipient, smuggledWord) {
				a.finding("smuggled to %s: %s", a.domains[i], got.Recipient)
			}
		}
	}
	a.fact("messages at the next hops", "%d", messages)
	if _, err := a.sendOne(ctx, "alive", 3000); err != nil {
		a.finding("afterwards the node takes no mail: %v", err)
	}
	if err := a.settle(ctx, 10*time.Second); err != nil {
		return err
	}
	for _, l := range oracle.Judge(a.log.All(), a.sink.Arrivals(), nil).Lost {
		a.finding("lost: %s", l)
	}
	a.panics()
	return a.bounded(ctx)
}

// drained asks for the queue's summary until nothing waits, at most 20 s.
func (a *abused) drained(ctx context.Context) error {
	var q control.QueueSummary
	deadline := time.Now().Add(20 * time.Second)
	for {
		if err := a.ask(ctx, &q, "queue", "summary"); err != nil {
			return err
		}
		if q.Messages == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			a.finding("%d messages still wait", q.Messages)
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// memoryBar is what the node may hold of anonymous memory after abuse: the bar
// of the issue for a loaded node.
const memoryBar = 128 << 20

// bounded holds that descriptors come back and memory stays below the bar.
func (a *abused) bounded(ctx context.Context) error {
	var now rig.Footprint
	back := a.until(ctx, 15*time.Second, func() bool {
		f, err := a.node.Footprint()
		now = f
		return err == nil && f.Descriptors <= a.baseline.Descriptors+12 // the node's own files and lanes
	})
	a.fact("descriptors", "%d before, %d after", a.baseline.Descriptors, now.Descriptors)
	a.fact("anonymous memory", "%d KiB before, %d KiB after", a.baseline.Anonymous>>10, now.Anonymous>>10)
	if !back {
		a.finding("descriptors grew from %d to %d", a.baseline.Descriptors, now.Descriptors)
	}
	if now.Anonymous > memoryBar {
		a.finding("%d MiB of anonymous memory are held afterwards", now.Anonymous>>20)
	}
	return ctx.Err()
}
