package spool

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
)

func cpuTime() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func benchDir(b *testing.B) string {
	if d := os.Getenv("SPOOL_BENCH_DIR"); d != "" {
		dir, err := os.MkdirTemp(d, "spool")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return b.TempDir()
}

// BenchmarkCommit measures messages committed and finished, durable before
// Commit returns. think is CPU work between two commits of one writer: with 32
// writers and 100 us it is the SMTP session of the bar about syncs.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		writers, size int
		think         time.Duration
	}{
		{1, 5 << 10, 0},
		{32, 5 << 10, 0},
		{100, 5 << 10, 0},
		{100, 40 << 10, 0},
		{1, 5 << 10, 100 * time.Microsecond},
		{8, 5 << 10, 100 * time.Microsecond},
		{32, 5 << 10, 50 * time.Microsecond},
		{32, 5 << 10, 100 * time.Microsecond},
		{32, 5 << 10, 200 * time.Microsecond},
	} {
		b.Run(fmt.Sprintf("writers=%d/octets=%d/think=%v", c.writers, c.size, c.think), func(b *testing.B) {
			benchCommit(b, c.writers, c.size, c.think)
		})
	}
}

func benchCommit(b *testing.B, writers, size int, think time.Duration) {
	cfg := Config{FS: durable.OS(), Dir: benchDir(b), Logger: quiet, BallastOctets: -1, MinFreeOctets: -1}
	s, _, err := Open(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	content := makeContent(size, 1)
	var left atomic.Int64
	left.Store(int64(b.N))
	before, cpu := s.Stats(), cpuTime()
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for left.Add(-1) >= 0 {
				if err := oneMessage(s, content, think); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	after, spent := s.Stats(), cpuTime()-cpu
	n := float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(after.AcceptSyncs-before.AcceptSyncs)/n, "asyncs/msg")
	b.ReportMetric(float64(after.FinishSyncs-before.FinishSyncs)/n, "fsyncs/msg")
	b.ReportMetric(float64(spent.Microseconds())/n-float64(think.Microseconds()), "cpu-us/msg")
	b.ReportMetric(float64(after.Stalls-before.Stalls), "stalls")
	if err := s.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func oneMessage(s *Spool, content []byte, think time.Duration) error {
	ctx := context.Background()
	spin(think / 2)
	d, err := s.NewDraft(ctx)
	if err != nil {
		return err
	}
	if _, err := d.Write(content); err != nil {
		return err
	}
	runtime.Gosched() // where a session would read from the network
	spin(think / 2)
	env := makeEnvelope(s.NextID(), "t1", 1)
	if err := s.Commit(ctx, d, []*envelope.Envelope{env}, nil); err != nil {
		return err
	}
	return s.Apply(ctx, []envelope.Change{finish(env.ID, 0)})
}

// spin uses the CPU for d.
func spin(d time.Duration) {
	for t := time.Now(); time.Since(t) < d; {
	}
}
