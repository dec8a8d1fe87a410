package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/internal/drill/rig"
)

// Patience is how long a fact is waited for before a test gives up: chosen,
// far above what a loaded machine of two cores needs.
const Patience = 45 * time.Second

// Context ends after Patience or with the test.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Start makes a node, starts it and waits until it is ready. Binary and Dir
// are filled in when empty. The node ends with the test.
func Start(t testing.TB, c rig.Config) *rig.Node {
	t.Helper()
	n := Prepare(t, c)
	if err := n.Start(Context(t)); err != nil {
		t.Fatal(err)
	}
	return n
}

// Prepare is Start without starting.
func Prepare(t testing.TB, c rig.Config) *rig.Node {
	t.Helper()
	if c.Binary == "" {
		c.Binary = Binary(t)
	}
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	n, err := rig.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Close()
		if t.Failed() {
			t.Logf("the node's log ends:\n%s", n.LogTail(4000))
		}
	})
	return n
}

// Sink starts an oracle's sink that ends with the test.
func Sink(t testing.TB, c oracle.SinkConfig) *oracle.Sink {
	t.Helper()
	s, err := oracle.NewSink(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// JSON runs `postern ARGS --json` on the node and decodes what it prints.
func JSON(t testing.TB, n *rig.Node, into any, args ...string) {
	t.Helper()
	out, err := n.Command(Context(t), append(args, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("postern %s --json: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// JSONItems runs a command that lists with --json and decodes its lines, one
// item each.
func JSONItems[T any](t testing.TB, n *rig.Node, into *[]T, args ...string) {
	t.Helper()
	out, err := n.Command(Context(t), append(args, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	*into = (*into)[:0]
	d := json.NewDecoder(bytes.NewReader(out))
	for d.More() {
		var one T
		if err := d.Decode(&one); err != nil {
			t.Fatalf("postern %s --json: %v\n%s", strings.Join(args, " "), err, out)
		}
		*into = append(*into, one)
	}
}
