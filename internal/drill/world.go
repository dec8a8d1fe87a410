package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/internal/drill/rig"
)

// The domains of a drill. Mail to the first is delivered, the second is a
// foreign one whose next hop refuses every recipient: DSNs are due.
const (
	goodDomain = "good.drill.test"
	sender     = "generator@" + goodDomain
)

// world is a node with its next hop and its oracle.
type world struct {
	*stage
	node  *rig.Node
	sink  *oracle.Sink
	log   oracle.Log
	kills []oracle.Kill
}

// worldConfig says what differs from a plain node with one good domain.
type worldConfig struct {
	yaml    string
	env     []string
	wrap    []string
	data    string
	sink    oracle.SinkConfig
	trusted bool // loopback is trusted, so DSNs are due
}

// newWorld makes everything and starts the sink but not the node.
func newWorld(s *stage, c worldConfig) (*world, error) {
	sink, err := oracle.NewSink(c.sink)
	if err != nil {
		return nil, err
	}
	extra := ""
	if c.trusted {
		extra = rig.TrustLoopback
	}
	node, err := rig.New(rig.Config{
		Binary: s.binary, Dir: s.dir, Data: c.data, YAML: c.yaml, Env: s.env(c.env...), Wrap: c.wrap,
		Tenants: rig.Tenants(extra, rig.Hop{Domain: goodDomain, Addr: sink.Addr()}),
	})
	if err != nil {
		sink.Close()
		return nil, err
	}
	return &world{stage: s, node: node, sink: sink}, nil
}

// close ends the node and the sink.
func (w *world) close() {
	w.node.Close()
	w.sink.Close()
}

// kill ends the node with SIGKILL and remembers when.
func (w *world) kill() error {
	at, err := w.node.Kill()
	w.kills = append(w.kills, oracle.KilledAt(at))
	return err
}

// killedItself waits until the node ends by SIGKILL, as a fail point does. It
// reports false when it did not within d, and notes any other end.
func (w *world) killedItself(ctx context.Context, d time.Duration) bool {
	select {
	case <-w.node.Exited():
	case <-time.After(d):
		return false
	case <-ctx.Done():
		return false
	}
	w.kills = append(w.kills, oracle.KilledAt(time.Now()))
	if st, ok := w.node.State().Sys().(syscall.WaitStatus); !ok || st.Signal() != syscall.SIGKILL {
		w.finding("the node ended with %s; its log ends: %s", w.node.State(), w.node.LogTail(1500))
	}
	return true
}

// mixed makes messages of all kinds: one to three recipients, 500 octets to
// 40 KiB, one in large of more than 256 KiB (0: none), in every style.
func (w *world) mixed(large int) func(int, *rand.Rand) (*oracle.Message, oracle.Style) {
	run := fmt.Sprintf("%x", w.rng.Uint32())
	return func(n int, rng *rand.Rand) (*oracle.Message, oracle.Style) {
		id := fmt.Sprintf("d%s-%d", run, n)
		octets := 500 + rng.IntN(8<<10)
		switch {
		case large > 0 && n%large == large-1:
			octets = 260<<10 + rng.IntN(200<<10)
		case n%8 == 0:
			octets = 10<<10 + rng.IntN(30<<10)
		}
		var to []string
		for k := range 1 + max(0, rng.IntN(6)-3) {
			to = append(to, fmt.Sprintf("%s.%d@%s", id, k, goodDomain))
		}
		return oracle.Compose(id, sender, to, octets, rng), oracle.Style(rng.IntN(3))
	}
}

// inBackground runs the load until the returned function is called.
func inBackground(ctx context.Context, l *oracle.Load) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// settle waits until every acknowledged recipient has arrived or was named by
// a DSN, at most d. Being too late is what Judge calls lost.
func (w *world) settle(ctx context.Context, d time.Duration) error {
	due := map[string]bool{}
	for _, s := range w.log.All() {
		if s.Outcome == oracle.Acked {
			for _, to := range s.Recipients {
				due[to] = true
			}
		}
	}
	seen := 0
	within, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := w.sink.WaitFor(within, func(all []oracle.Arrival) bool {
		for ; seen < len(all); seen++ {
			delete(due, all[seen].Recipient)
			for _, f := range all[seen].Failed {
				delete(due, f)
			}
		}
		return len(due) == 0
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// judge compares what was sent with what arrived and writes the sheet.
func (w *world) judge() *oracle.Verdict {
	v := oracle.Judge(w.log.All(), w.sink.Arrivals(), w.kills)
	w.fact("messages sent", "%d (%d acknowledged, %d refused, %d in doubt)", v.Sent, v.Acked, v.Refused, v.Doubt)
	w.fact("recipients", "%d acknowledged, %d delivered, %d bounced, %d of those in doubt arrived", v.Recipients, v.Delivered, v.Bounced, v.DoubtArrived)
	w.fact("lost", "%d", len(v.Lost))
	w.fact("duplicates", "%d (%.3f %%), %d unexplained, the record came at most %.1f ms after the 250", v.Duplicates, v.DuplicateShare(), len(v.Unexplained), float64(v.Window.Microseconds())/1000)
	for what, list := range map[string][]string{
		"lost": v.Lost, "damaged": v.Damaged, "never sent, but arrived": v.Strangers,
		"refused, but arrived": v.RefusedArrived, "duplicate that no kill explains": v.Unexplained, "named by two DSNs": v.ReportedTwice,
	} {
		for _, one := range list {
			w.finding("%s: %s", what, one)
		}
	}
	if v.Acked == 0 {
		w.finding("nothing was acknowledged, so nothing was tried")
	}
	return v
}

// duplicatesAtMost holds a share in percent, and at least so many in number.
func (w *world) duplicatesAtMost(v *oracle.Verdict, percent float64, number int) {
	if v.DuplicateShare() > percent && v.Duplicates > number {
		w.finding("%d duplicates are %.3f %%, allowed are %.1f %% or %d", v.Duplicates, v.DuplicateShare(), percent, number)
	}
}

// audit waits until nothing is held any more, judges what was sent and what
// arrived, and compares the node's own accounting with it: once online and once
// by the offline auditor on the stopped node's directory. It stops the node.
func (w *world) audit(ctx context.Context) (*oracle.Verdict, error) {
	online, err := w.auditUntilIdle(ctx)
	if err != nil {
		return nil, err
	}
	v := w.judge() // only now: mail in doubt may still have been on its way
	w.compareAudit("audit of the running node", online, v)
	stopping, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := w.node.Stop(stopping); err != nil {
		w.finding("%v", err)
	}
	offline, err := w.runAudit(ctx, "--dir", w.node.Data)
	if err != nil {
		return nil, err
	}
	w.compareAudit("audit of the directory", offline, v)
	return v, nil
}

// auditUntilIdle asks until nothing is held, because the last finish follows
// the next hop's 250 by a moment.
func (w *world) auditUntilIdle(ctx context.Context) (*control.AuditReport, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		r, err := w.runAudit(ctx)
		if err != nil {
			return nil, err
		}
		held := int64(0)
		for _, t := range r.Tenants {
			held += t.Held
		}
		if held == 0 || time.Now().After(deadline) {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond): // between two questions
		}
	}
}

// ask runs a postern command with --json and decodes what it prints.
func (w *world) ask(ctx context.Context, into any, args ...string) error {
	out, err := w.node.Command(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("postern %s --json: %w: %.200s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (w *world) runAudit(ctx context.Context, args ...string) (*control.AuditReport, error) {
	out, err := w.node.Command(ctx, append([]string{"audit", "--json"}, args...)...)
	var r control.AuditReport
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		return nil, errors.Join(err, fmt.Errorf("postern audit --json: %w: %.200s", jerr, out))
	}
	return &r, nil // a ledger that does not balance ends the command with an error, and is read here
}

func (w *world) compareAudit(where string, r *control.AuditReport, v *oracle.Verdict) {
	var sum control.TenantLedger
	for _, t := range r.Tenants {
		sum.Accepted += t.Accepted
		sum.Generated += t.Generated
		sum.Delivered += t.Delivered
		sum.Bounced += t.Bounced
		sum.Held += t.Held
		if d := t.Difference(); d != 0 {
			w.finding("%s: tenant %q differs by %d", where, t.Tenant, d)
		}
	}
	w.fact(where, "balanced %v: %d accepted, %d generated, %d delivered, %d bounced, %d held", r.Balanced, sum.Accepted, sum.Generated, sum.Delivered, sum.Bounced, sum.Held)
	if !r.Balanced {
		w.finding("%s: it does not balance", where)
	}
	for _, p := range r.Problems {
		if p.What == "draft" && strings.HasSuffix(p.Detail, "orphan") {
			continue // content of mail that has ended: the next start removes it
		}
		w.finding("%s: %s %s %s %s: %s", where, p.What, p.ID, p.Path, p.Where, p.Detail)
	}
	delivered := int64(v.Delivered + v.Reports) // DSNs are mail too
	if sum.Delivered != delivered {
		w.finding("%s: says %d delivered, the oracle saw %d (%d of them DSNs)", where, sum.Delivered, delivered, v.Reports)
	}
	if sum.Bounced != int64(v.Bounced) {
		w.finding("%s: says %d bounced, the oracle saw %d", where, sum.Bounced, v.Bounced)
	}
	if sum.Held != 0 {
		w.finding("%s: %d recipients are still held", where, sum.Held)
	}
}

// panics looks for a recovered or deadly panic in the node's log.
func (w *world) panics() {
	b, err := os.ReadFile(w.node.LogFile())
	if err != nil {
		w.finding("the node's log: %v", err)
		return
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "panic") || strings.Contains(line, "fatal error") {
			w.finding("the log says: %.300s", line)
			return
		}
	}
}

// spoolFiles lists the files of the spool whose base name begins with prefix.
func (w *world) spoolFiles(prefix string) ([]string, error) {
	return filepath.Glob(filepath.Join(w.node.Data, "spool", "*", prefix+"*"))
}
