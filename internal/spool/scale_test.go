package spool

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
)

// TestAMillionMessagesFitAndOpenSoon fills the index with live messages,
// closes, and opens again. SPOOL_SCALE says how many (default 20,000, so that
// it is quick; the bound is per message).
func TestAMillionMessagesFitAndOpenSoon(t *testing.T) {
	n := 20_000
	if v, err := strconv.Atoi(os.Getenv("SPOOL_SCALE")); err == nil {
		n = v
	}
	cfg := Config{FS: durable.OS(), Dir: t.TempDir() + "/spool", Logger: quiet, BallastOctets: -1, MinFreeOctets: -1}
	s, _ := mustOpen(t, cfg)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	content := makeContent(100, 1)
	for i := 0; i < n; i += 500 {
		d, err := s.NewDraft(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write(content); err != nil {
			t.Fatal(err)
		}
		var envs []*envelope.Envelope
		for range min(500, n-i) {
			envs = append(envs, makeEnvelope(s.NextID(), "t1", 1))
		}
		if err := s.Commit(context.Background(), d, envs, nil); err != nil {
			t.Fatal(err)
		}
	}
	each := (heap() - before) / int64(n)
	t.Logf("%d live: %d octets of memory each", n, each)
	if n >= 20_000 && each > 400 {
		t.Errorf("%d octets of memory for each live message", each)
	}
	began := time.Now()
	mustClose(t, s)
	closed := time.Since(began)
	s, rec := mustOpen(t, cfg)
	t.Logf("closed in %v, opened in %v", closed, rec.Duration)
	if rec.Live != n || rec.Hurt() {
		t.Fatalf("live %d, %v", rec.Live, rec.Findings)
	}
	if per := rec.Duration / time.Duration(n); n >= 20_000 && per > 50*time.Microsecond {
		t.Errorf("Open took %v for each live message", per)
	}
	mustClose(t, s)
}
