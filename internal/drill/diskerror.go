package drill

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/drill/oracle"
)

// injections are the disk's answers; when=N+M fails the N-th call of each
// thread and every M-th after it.
var injections = []struct{ name, trace, inject string }{
	{"EIO on sync", "trace=fdatasync,fsync", "inject=fdatasync,fsync:error=EIO:when=2+4"},
	{"ENOSPC on write", "trace=pwrite64,pwritev,pwritev2", "inject=pwrite64,pwritev,pwritev2:error=ENOSPC:when=2+4"},
	{"EIO on write", "trace=pwrite64,pwritev,pwritev2", "inject=pwrite64,pwritev,pwritev2:error=EIO:when=3+5"},
	{"ENOSPC on allocation", "trace=fallocate,ftruncate,openat", "inject=fallocate:error=ENOSPC:when=1+2"},
}

// diskErrors lets the kernel lie to the running node under load.
func diskErrors(ctx context.Context, s *stage) error {
	w, err := newWorld(s, worldConfig{yaml: smallSegments, trusted: true, sink: oracle.SinkConfig{Rcpt: moody}})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.node.Start(ctx); err != nil {
		return err
	}
	load := &oracle.Load{Addr: w.node.SMTP, Sessions: 12, PerSecond: rate, Seed: s.seed, Make: w.moody(), Log: &w.log}
	stop := inBackground(ctx, load)
	defer stop()
	begin := time.Now()
	for _, i := range injections {
		if err := w.inject(ctx, i.name, i.trace, i.inject); err != nil {
			return err
		}
		if !w.node.Running() {
			s.finding("%s: the node ended with %s; its log ends: %s", i.name, w.node.State(), w.node.LogTail(1500))
			return nil
		}
	}
	stop()
	w.softRefusals()
	// Deferred mail still lives here; what recovery makes of abandoned segments
	// is seen only by a start.
	if err := w.kill(); err != nil {
		return err
	}
	w.kills[0].Since = begin // what a disk refused to note since then is delivered again
	if err := w.node.Start(ctx); err != nil {
		s.finding("after disk errors and a kill: %v", err)
		return nil
	}
	if err := w.settle(ctx, 30*time.Second); err != nil {
		return err
	}
	w.panics()
	_, err = w.audit(ctx)
	return err
}

// inject runs one kind of error for some seconds and waits until the node
// takes mail again without it.
func (w *world) inject(ctx context.Context, name, trace, inject string) error {
	output := filepath.Join(w.dir, "strace-"+strings.ReplaceAll(name, " ", "-"))
	refused := w.log.Count(oracle.Refused)
	t, err := attach(ctx, w.node.PID(), output, "-e", trace, "-e", inject, "-e", "signal=none")
	if err != nil {
		return err
	}
	err = pause(ctx, time.Duration(w.pick(2, 60))*time.Second)
	t.detach()
	if err != nil {
		return err
	}
	f, err := os.Open(output)
	if err != nil {
		return err
	}
	defer f.Close()
	seen, err := readTrace(f)
	if err != nil {
		return err
	}
	hits := 0
	for _, c := range seen.calls {
		if c.injected {
			hits++
		}
	}
	w.fact(name, "%d calls failed, %d messages refused", hits, w.log.Count(oracle.Refused)-refused)
	if hits == 0 && !strings.Contains(trace, "fallocate") {
		w.finding("%s: no call was made to fail", name)
	}
	return w.takesMail(ctx, name)
}

// takesMail waits up to 5 s for a message that is acknowledged.
func (w *world) takesMail(ctx context.Context, after string) error {
	before, begin := w.log.Count(oracle.Acked), time.Now()
	for w.log.Count(oracle.Acked) <= before {
		if time.Since(begin) > 5*time.Second {
			w.finding("%s: 5 s later the node still takes no mail", after)
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// softRefusals holds that every refusal is 4xx and every client heard one.
func (w *world) softRefusals() {
	for _, s := range w.log.All() {
		if s.Outcome == oracle.Refused && s.Reply.Code >= 500 {
			w.finding("%s was refused for good: %s", s.ID, s.Reply.Text)
		}
		if s.Outcome == oracle.Doubt {
			w.finding("%s got no reply at all", s.ID)
		}
	}
}
