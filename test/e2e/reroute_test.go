package e2e_test

import (
	"os"
	"strings"
	"testing"
)

// The next attempt would be due in five minutes, far beyond this test's
// patience: only the reload can have brought the mail.
func TestAReloadTakesWaitingMailToItsNewNextHop(t *testing.T) {
	n := startNode(t, "")
	tenants := n.file("data/demo/tenants.yaml")
	good, err := os.ReadFile(tenants)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(tenants, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n.mustCLI("reload")
	}
	put(strings.Replace(string(good), `"mx.test:25"`, `"`+freeAddress(t)+`"`, 1))
	c := dial(t, n.smtp)
	c.say("EHLO client.example.net", "250")
	id := c.deliver("somebody@sender.test", message(unique(t, 1)), "alice@example.test")
	n.traced(id, "queued") // and its trace shows the attempt in vain
	put(string(good))
	n.arrives("the message", func(r received) bool { return r.ID == id })
	n.traced(id, "delivered")
	n.balanced()
}
