package harness

import (
	"context"
	"testing"
	"time"
)

// Breathe is the moment between two looks at a fact of another process, which
// has no way to tell us. It ends early with ctx.
func Breathe(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

// Until waits at most Patience for a fact of another process and fails the
// test without it.
func Until(t testing.TB, what string, fact func() bool) {
	t.Helper()
	ctx := Context(t)
	for !fact() {
		if ctx.Err() != nil {
			t.Fatalf("waited %s in vain: %s", Patience, what)
		}
		Breathe(ctx)
	}
}
