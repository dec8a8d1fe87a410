package drill

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/internal/telemetry"
)

// rate is that of S5: 200 messages a second.
const rate = 200

// lanes is the node's default bound on connections to one next hop, each with
// one message under way; mostRecipients is what a generated message has.
const (
	lanes          = 20
	mostRecipients = 3
)

// killAtRandom kills the node at random moments under load and starts it
// again. Its duplicates are held to the bar.
func killAtRandom(ctx context.Context, s *stage) error {
	w, v, err := killed(ctx, s, s.pick(8, 1000), false)
	if err != nil || v == nil {
		return err
	}
	// A short run judges correctness, not shares, which a loaded machine spoils:
	// a kill may double what the lanes to the next hop had on their way.
	w.duplicatesAtMost(v, 0.1, s.pick(lanes*mostRecipients*len(w.kills), 0))
	return nil
}

// killOnSlowDisk is killAtRandom while every write and sync takes 20 ms more,
// so that the kill falls into one of them and not between. The time between a
// next hop's 250 and its record is as much longer: duplicates must be
// explained, and are not held to a share.
func killOnSlowDisk(ctx context.Context, s *stage) error {
	_, _, err := killed(ctx, s, s.pick(6, 200), true)
	return err
}

// killed is what both have in common. The verdict is nil when the node did not
// start again.
func killed(ctx context.Context, s *stage, kills int, slow bool) (*world, *oracle.Verdict, error) {
	w, err := newWorld(s, worldConfig{yaml: quickRetry})
	if err != nil {
		return nil, nil, err
	}
	defer w.close()
	if ok, err := w.killOften(ctx, kills, slow); err != nil || !ok {
		return nil, nil, err
	}
	if s.part.weakness != "" {
		return w, w.judge(), nil // its accounting is of no interest
	}
	v, err := w.audit(ctx)
	return w, v, err
}

// killOften reports false when the node did not start again.
func (w *world) killOften(ctx context.Context, kills int, slow bool) (bool, error) {
	if err := w.node.Start(ctx); err != nil {
		return false, err
	}
	stop := inBackground(ctx, &oracle.Load{Addr: w.node.SMTP, Sessions: 24, PerSecond: rate, Seed: w.seed, Make: w.mixed(100), Log: &w.log})
	defer stop()
	slowest := time.Duration(0)
	for range kills {
		fast := w.slowDisk(ctx, slow)
		if err := pause(ctx, 100*time.Millisecond+time.Duration(w.rng.Int64N(int64(1400*time.Millisecond)))); err != nil {
			return false, err
		}
		if err := w.kill(); err != nil {
			return false, err
		}
		fast()
		begin := time.Now()
		if err := w.node.Start(ctx); err != nil {
			w.finding("after kill %d: %v", len(w.kills), err)
			return false, ctx.Err()
		}
		slowest = max(slowest, time.Since(begin))
	}
	stop()
	if err := w.settle(ctx, 20*time.Second); err != nil {
		return false, err
	}
	w.fact("kills", "%d, slowest start %d ms", len(w.kills), slowest.Milliseconds())
	w.panics()
	return true, nil
}

// slowDisk makes every write and sync of the node take 20 ms longer, where
// strace is at hand, until the returned function is called.
func (w *world) slowDisk(ctx context.Context, wanted bool) (end func()) {
	if !wanted || !haveStrace() {
		return func() {}
	}
	calls := "pwrite64,fdatasync,fsync"
	t, err := attach(ctx, w.node.PID(), filepath.Join(w.dir, "slow"), "-e", "trace="+calls, "-e", "inject="+calls+":delay_enter=20000", "-e", "signal=none")
	if err != nil {
		w.say("the disk stays fast: %v", err)
		return func() {}
	}
	return t.detach
}

// rarePoints are passed a few times a run, not with every message.
var rarePoints = map[string]bool{
	"spool.segment.prepared": true, "spool.segment.rolled": true, "spool.segment.recycled": true,
	"spool.checkpoint.before-write": true, "spool.checkpoint.before-rename": true, "spool.checkpoint.after-rename": true,
	"spool.copy-forward.half": true, "spool.draft.created": true, "spool.draft.synced": true, "spool.draft.removed": true,
	"spool.event.before-append": true, "spool.event.before-sync": true,
	"bounce.before-commit": true, "bounce.after-commit": true,
}

// killAtPoints arms one fail point after the other on one data directory: the
// start that recovers from one kill runs into the next.
func killAtPoints(ctx context.Context, s *stage) error {
	w, err := newWorld(s, worldConfig{yaml: smallSegments, trusted: true, sink: oracle.SinkConfig{Rcpt: moody}})
	if err != nil {
		return err
	}
	defer w.close()
	load := &oracle.Load{Addr: w.node.SMTP, Sessions: 16, PerSecond: rate, Seed: s.seed, Make: w.moody(), Log: &w.log, PerConnection: 10}
	stop := inBackground(ctx, load)
	reached := 0
	for _, name := range telemetry.FailPoints() {
		for range s.pick(1, 50) {
			ok, err := w.killAt(ctx, name)
			if err != nil {
				stop()
				return err
			}
			if !ok {
				s.finding("fail point %s was not reached within %s", name, pointPatience)
				break
			}
			reached++
		}
	}
	w.node.Env = s.env()
	if err := w.node.Start(ctx); err != nil {
		stop()
		s.finding("after the last kill: %v", err)
		return nil
	}
	stop()
	if err := w.settle(ctx, 30*time.Second); err != nil {
		return err
	}
	s.fact("kills", "%d at %d fail points", reached, len(telemetry.FailPoints()))
	w.panics()
	v, err := w.audit(ctx)
	if err != nil {
		return err
	}
	// A kill between the next hop's 250 and the record of it is a duplicate by
	// construction: one for each such kill, and for others on their way then.
	w.duplicatesAtMost(v, 0.1, lanes*mostRecipients*len(w.kills))
	return nil
}

// pointPatience bounds the wait for one fail point: chosen.
const pointPatience = 15 * time.Second

// killAt starts the node with the point armed and waits for its end.
func (w *world) killAt(ctx context.Context, name string) (bool, error) {
	passage := 1 + w.rng.IntN(w.pick(8, 20))
	if rarePoints[name] {
		passage = 1
	}
	if w.node.Running() {
		if err := w.kill(); err != nil {
			return false, err
		}
	}
	if name == "spool.segment.prepared" {
		// A node with spare segments makes no new one for a long time.
		if err := w.removeSpares(); err != nil {
			return false, err
		}
	}
	w.node.Env = w.env("POSTERN_FAILPOINT=" + name + ":" + itoa(passage))
	if err := w.node.Launch(); err != nil {
		return false, err
	}
	return w.killedItself(ctx, pointPatience), ctx.Err()
}

// removeSpares removes the segments without mail of the node, which is down.
func (w *world) removeSpares() error {
	files, err := w.spoolFiles("spare-")
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}

// pause waits unless ctx ends: the moment of a kill is the drill's input, not
// a wait for a fact.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
