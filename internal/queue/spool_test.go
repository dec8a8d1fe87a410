package queue

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/spool"
	"github.com/postern-mail/postern/internal/tenant"
)

// openSpool opens a real spool in a small size.
func openSpool(t testing.TB, dir string) *spool.Spool {
	t.Helper()
	s, rec, err := spool.Open(t.Context(), spool.Config{
		FS: durable.OS(), Dir: dir, SegmentOctets: 4 << 20, BallastOctets: -1, MinFreeOctets: -1, MinFreeInodes: -1, Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if rec.Hurt() {
		t.Fatalf("hurt: %+v", rec.Findings)
	}
	return s
}

// accept commits a message as a session would.
func accept(t testing.TB, s *spool.Spool, to ...string) *envelope.Envelope {
	t.Helper()
	d, err := s.NewDraft(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte("Subject: x\r\n\r\nhello\r\n")); err != nil {
		t.Fatal(err)
	}
	env := &envelope.Envelope{
		ID: s.NextID(), Tenant: "t1", Kind: envelope.Submitted, Arrival: envelope.Arrival{Time: time.Now().UTC()},
		Reverse: smtp.Path{Local: "alice", Domain: "example.test"},
	}
	for _, a := range to {
		p, err := smtp.ParseMailbox(a)
		if err != nil {
			t.Fatal(err)
		}
		env.Forward = append(env.Forward, envelope.Recipient{Path: p})
	}
	if err := s.Commit(t.Context(), d, []*envelope.Envelope{env}, nil); err != nil {
		t.Fatal(err)
	}
	return env
}

func openQueue(t testing.TB, s *spool.Spool, net *fakeNet) *Queue {
	t.Helper()
	q, err := New(Config{
		Store: OfSpool(s), Transport: net, Route: byDomain, Logger: quiet(), Backoff: []time.Duration{20 * time.Millisecond}, Jitter: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// until waits for a fact.
func until(t testing.TB, fact func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !fact() {
		if time.Now().After(deadline) {
			t.Fatal("it did not come true in 20 s")
		}
		<-tick.C
	}
}

func live(s *spool.Spool) int64 {
	l := s.Ledger()
	total := l.Total()
	return total.Live
}

func TestWithTheSpoolEveryRecipientEndsAndTheLedgerBalances(t *testing.T) {
	s := openSpool(t, filepath.Join(t.TempDir(), "spool"))
	net := newNet()
	q := openQueue(t, s, net)
	first := map[envelope.ID]bool{}
	net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
		net.mu.Lock()
		defer net.mu.Unlock()
		if t.id.Sequence()%3 == 0 && !first[t.id] {
			first[t.id] = true
			return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
		}
		if t.id.Sequence()%5 == 0 {
			return all(t, envelope.AdviceFail, cause.PeerRcpt5xx)
		}
		return all(t, envelope.AdviceDelivered, cause.None)
	}
	q.Start()
	const n = 300
	for i := range n {
		q.Offer(accept(t, s, fmt.Sprintf("a@d%d.test", i%7), fmt.Sprintf("b@d%d.test", i%7), "c@other.test"))
	}
	until(t, func() bool { return live(s) == 0 })
	until(t, func() bool { return q.numbers().items == 0 })
	ledger := s.Ledger()
	total := ledger.Total()
	if total.Difference() != 0 || total.Sources[envelope.Submitted] != 3*n ||
		total.Terminal[envelope.Delivered]+total.Terminal[envelope.DSNSuppressed] != 3*n {
		t.Errorf("ledger %+v", total)
	}
	stopBoth(t, q, s)
	for _, d := range net.defects {
		t.Error(d)
	}
}

func stopBoth(t testing.TB, q *Queue, s *spool.Spool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := q.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestAfterARestartTheRestIsDeliveredAndNothingTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := openSpool(t, dir)
	net := newNet()
	q := openQueue(t, s, net)
	net.answer = func(t try, _ *envelope.Envelope) []envelope.Outcome {
		if t.hop == "later.test" {
			return all(t, envelope.AdviceDefer, cause.PeerRcpt4xx)
		}
		return all(t, envelope.AdviceDelivered, cause.None)
	}
	q.Start()
	const n = 50
	for range n {
		q.Offer(accept(t, s, "a@now.test", "b@later.test"))
	}
	until(t, func() bool { l := s.Ledger(); x := l.Total(); return x.Terminal[envelope.Delivered] == n })
	stopBoth(t, q, s)

	s = openSpool(t, dir)
	again := newNet()
	q = openQueue(t, s, again)
	q.Start()
	until(t, func() bool { return live(s) == 0 })
	stopBoth(t, q, s)
	seen := map[envelope.ID]int{}
	for _, x := range again.seen() {
		if x.hop != "later.test" || len(x.rcpts) != 1 || x.rcpts[0] != 1 {
			t.Errorf("tried again: %+v", x)
		}
		seen[x.id]++
	}
	for id, k := range seen {
		if k != 1 {
			t.Errorf("%v was delivered %d times", id, k)
		}
	}
	if len(seen) != n {
		t.Errorf("%d messages delivered after the restart, want %d", len(seen), n)
	}
}

// BenchmarkWithTheSpool is Commit, Offer, a peer that answers at once, Apply.
func BenchmarkWithTheSpool(b *testing.B) {
	s := openSpool(b, filepath.Join(b.TempDir(), "spool"))
	q, err := New(Config{
		Store: OfSpool(s), Logger: quiet(), Route: func(_, _ string) tenant.NextHop { return tenant.NextHop{Key: "10.0.0.1:25"} },
		Transport: TransportFunc(func(tenant.NextHop) Lane { return &thinLane{} }),
	})
	if err != nil {
		b.Fatal(err)
	}
	q.Start()
	b.ReportAllocs()
	b.SetParallelism(16)
	b.ResetTimer()
	before := cpu()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			q.Offer(accept(b, s, "bob@example.test"))
		}
	})
	until(b, func() bool { return live(s) == 0 })
	b.StopTimer()
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	stopBoth(b, q, s)
}
