// Package interop_test speaks with the servers and clients that others run:
// Postfix, Exim, swaks, smtp-source, smtp-sink, openssl. Each test starts its
// own instances on free loopback ports in a directory of its own and ends only
// those.
package interop_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/internal/drill/rig"
	"github.com/postern-mail/postern/test/harness"
)

const domain = "good.drill.test"

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// need fails the test when a program is not installed (test/deps.sh installs
// them), or when a peer needs root and we are not.
func need(t *testing.T, root bool, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%s is not installed: run test/deps.sh", p)
		}
	}
	if root && os.Geteuid() != 0 {
		t.Fatal("this peer drops root's rights and must be started as root")
	}
}

// startPostern starts a node whose mail for domain goes to next.
func startPostern(t *testing.T, next, yaml, tenant string) *rig.Node {
	t.Helper()
	return harness.Start(t, rig.Config{YAML: quickRetry + yaml, Tenants: rig.Tenants(tenant, rig.Hop{Domain: domain, Addr: next})})
}

const quickRetry = `queue:
  backoff: [1s]
  site_backoff: [1s]
`

// openDir makes a directory that peers may enter after they dropped root.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postern-peer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// freePort is a port for a peer.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := rig.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// run runs a client to its end and returns what it printed.
func run(t *testing.T, stdin, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(harness.Context(t), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// mustRun is run for a client that must be content.
func mustRun(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	out, err := run(t, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// sendAll sends messages to addr and fails unless each is acknowledged.
func sendAll(t *testing.T, addr string, log *oracle.Log, all []*oracle.Message) {
	t.Helper()
	c, err := oracle.Dial(harness.Context(t), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Quit()
	for i, m := range all {
		style := oracle.Style(i % 3)
		if style == oracle.Chunked && !strings.Contains(c.Ehlo.Text, "CHUNKING") {
			style = oracle.Pipelined
		}
		if r, err := log.SendOne(c, m, style); err != nil || r.Code != 250 {
			t.Fatalf("%s: %s %v", m.ID, r.Text, err)
		}
	}
}

// arrived waits for every recipient of what was acknowledged and fails unless
// all content is octet for octet what was sent, once.
func arrived(t *testing.T, sink *oracle.Sink, log *oracle.Log) {
	t.Helper()
	want := 0
	for _, s := range log.All() {
		want += len(s.Recipients)
	}
	waitFor(t, sink, fmt.Sprintf("%d recipients", want), func(all []oracle.Arrival) bool { return len(all) >= want })
	v := oracle.Judge(log.All(), sink.Arrivals(), nil)
	if bad := slices.Concat(v.Lost, v.Damaged, v.Strangers, v.RefusedArrived, v.Unexplained); len(bad) > 0 {
		t.Fatalf("%s; wrong: %q", v, bad)
	}
}

func waitFor(t *testing.T, sink *oracle.Sink, what string, done func([]oracle.Arrival) bool) {
	t.Helper()
	if err := sink.WaitFor(harness.Context(t), done); err != nil {
		var got []string
		for _, a := range sink.Arrivals() {
			got = append(got, a.ID+" to "+a.Recipient)
		}
		t.Fatalf("%s did not arrive: %v; %d arrived: %.2000q", what, err, len(got), got)
	}
}

// waitCount waits for so many arrivals for a recipient.
func waitCount(t *testing.T, sink *oracle.Sink, recipient string, n int) {
	t.Helper()
	count := 0
	waitFor(t, sink, fmt.Sprintf("%d for %s", n, recipient), func(all []oracle.Arrival) bool {
		count = 0
		for _, a := range all {
			if a.Recipient == recipient {
				count++
			}
		}
		return count >= n
	})
	if count != n {
		t.Fatalf("%d messages arrived for %s, want %d", count, recipient, n)
	}
}

// waitPort waits until a peer accepts, or ends the test with its log.
func waitPort(t *testing.T, addr string, log func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	for {
		c, err := oracle.DialBare(ctx, addr)
		if err == nil {
			r, err := c.ReadReply()
			c.Close()
			if err == nil && r.Code == 220 {
				return
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("the peer on %s never answered: %v\n%s", addr, err, log())
		}
		harness.Breathe(ctx)
	}
}
