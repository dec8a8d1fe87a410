package queue

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// thinStore costs next to nothing, so that a benchmark measures the queue.
type thinStore struct {
	seq, applied atomic.Uint64
	done         chan struct{}
	want         uint64
}

func (s *thinStore) Mark() envelope.ID      { return envelope.NewID(testInc, s.seq.Add(1)) }
func (s *thinStore) Claim(envelope.ID) bool { return true }
func (s *thinStore) Unclaim(envelope.ID)    {}
func (s *thinStore) Live(func(Entry) bool)  {}
func (s *thinStore) Envelope(envelope.ID) (*envelope.Envelope, []envelope.Status, error) {
	return nil, nil, ErrGone
}

type nothing struct{}

func (nothing) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (nothing) Size() int64                       { return 5000 }
func (nothing) Close() error                      { return nil }

func (s *thinStore) Content(envelope.ID) (Content, error) { return nothing{}, nil }

func (s *thinStore) Apply(_ context.Context, c []envelope.Change) error {
	if s.applied.Add(uint64(len(c))) == s.want {
		close(s.done)
	}
	return nil
}

type thinLane struct {
	took time.Duration
	out  [1]envelope.Outcome
}

func (*thinLane) Close() {}
func (l *thinLane) Deliver(context.Context, *envelope.Envelope, []int, io.ReaderAt, int64) []envelope.Outcome {
	if l.took > 0 {
		time.Sleep(l.took) // the peer
	}
	l.out[0] = envelope.Outcome{Verdict: envelope.AdviceDelivered, Attempt: envelope.Attempt{Cause: cause.None}}
	return l.out[:]
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAMessage is the queue's part of one message's way, Offer to Apply,
// with 32 sessions that offer one after the other.
func BenchmarkAMessage(b *testing.B) {
	for _, peer := range []struct {
		name string
		took time.Duration
	}{{"peer=0", 0}, {"peer=1ms", time.Millisecond}} {
		b.Run(peer.name, func(b *testing.B) { benchmark(b, peer.took) })
	}
}

func benchmark(b *testing.B, took time.Duration) {
	store := &thinStore{done: make(chan struct{}), want: uint64(b.N)}
	var opened atomic.Int64
	q, err := New(Config{
		Store: store, Logger: quiet(), MaxFresh: 1 << 20,
		Route: func(_, _ string) tenant.NextHop { return tenant.NextHop{Key: "10.0.0.1:25"} },
		Transport: TransportFunc(func(tenant.NextHop) Lane {
			opened.Add(1)
			return &thinLane{took: took}
		}),
	})
	if err != nil {
		b.Fatal(err)
	}
	q.Start()
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				q.Offer(&envelope.Envelope{
					ID: store.Mark(), Forward: []envelope.Recipient{{Path: smtp.Path{Local: "bob", Domain: "example.test"}}},
				})
			}
		})
	}
	wg.Wait()
	<-store.done
	b.StopTimer()
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(opened.Load()), "lanes")
	if err := q.Stop(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// manyStore holds n live messages to a thousand domains, none of them due.
type manyStore struct {
	thinStore
	n   uint64
	due time.Time
}

func (s *manyStore) Live(yield func(Entry) bool) {
	var domains [1000]string
	for i := range domains {
		domains[i] = fmt.Sprintf("d%d.test", i)
	}
	rcpts := []EntryRecipient{{Status: envelope.Status{State: envelope.Queued, Attempts: 3, Cause: cause.PeerRcpt4xx}}}
	for i := range s.n {
		rcpts[0].Domain = domains[i%1000]
		rcpts[0].NextAttempt = s.due.Add(time.Duration(i*7919%s.n) * time.Millisecond)
		e := Entry{ID: envelope.NewID(envelope.Incarnation{1}, i), Tenant: "t", Arrival: s.due, Size: 5000, Recipients: rcpts}
		if !yield(e) {
			return
		}
	}
}

// BenchmarkReadBack is the start of a queue with a million messages.
func BenchmarkReadBack(b *testing.B) {
	for range b.N {
		store := &manyStore{n: 1_000_000, due: time.Now().Add(time.Hour)}
		q, err := New(Config{Store: store, Logger: quiet(), Route: byDomain, Transport: TransportFunc(nil)})
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		q.startScan()
		b.ReportMetric(time.Since(began).Seconds(), "s/million")
		began = time.Now()
		q.repairScan()
		b.ReportMetric(time.Since(began).Seconds(), "s/scan")
		began = time.Now()
		if s := q.Summary(); s.Waiting != 1_000_000 || len(s.Hops) != 1000 {
			b.Fatalf("%d waiting, %d next hops", s.Waiting, len(s.Hops))
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/summary")
	}
}
