package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestMailForAliceArrivesAndItsTraceTellsHow(t *testing.T) {
	n := startNode(t, "")
	c := dial(t, n.smtp)
	c.say("EHLO client.example.net", "250")
	subject := unique(t, 1)
	id := c.deliver("somebody@sender.test", message(subject), "alice@example.test")
	c.say("QUIT", "221")

	got := n.arrives("the message", func(r received) bool { return r.ID == id })
	if got.Reverse != "somebody@sender.test" || len(got.Recipients) != 1 || got.Recipients[0] != "alice@example.test" || got.Subject != subject {
		t.Errorf("got %+v", got)
	}
	for _, want := range []string{
		"Return-Path: <somebody@sender.test>\r\n",
		"Received: from client.example.net ([127.0.0.1])\r\n\tby gw.example.test with ESMTP\r\n\tid " + id + "\r\n\tfor <alice@example.test>;\r\n",
		"\r\n\r\nHello.\r\n.stuffed\r\n",
	} {
		if !strings.Contains(got.Content, want) {
			t.Errorf("no %q in\n%s", want, got.Content)
		}
	}
	n.traced(id, "delivered")
	n.balanced()
}

// traced waits until every recipient of id is in the state.
func (n *node) traced(id, state string) {
	n.t.Helper()
	n.eventually("the trace of "+id+" says "+state, func() error {
		out, err := n.cli("trace", id, "--json")
		if err != nil {
			return err
		}
		var reply struct {
			Message *struct {
				ID         string `json:"id"`
				Recipients []struct {
					State string `json:"state"`
				} `json:"recipients"`
				Events []json.RawMessage `json:"events"`
			} `json:"message"`
		}
		if err := json.Unmarshal([]byte(out), &reply); err != nil {
			return fmt.Errorf("%w in %q", err, out)
		}
		if reply.Message == nil || reply.Message.ID != id || len(reply.Message.Events) < 2 {
			return errors.New(out)
		}
		for _, r := range reply.Message.Recipients {
			if r.State != state {
				return errors.New(out)
			}
		}
		return nil
	})
}

// balanced waits until the queue is empty and checks the ledger.
func (n *node) balanced() {
	n.t.Helper()
	n.eventually("the ledger balances with nothing held", func() error {
		out, err := n.cli("audit", "--json")
		if err != nil {
			return err
		}
		var report struct {
			Balanced bool              `json:"balanced"`
			Problems []json.RawMessage `json:"problems"`
			Tenants  []struct {
				Held int64 `json:"held"`
			} `json:"tenants"`
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			return fmt.Errorf("%w in %q", err, out)
		}
		if !report.Balanced || len(report.Problems) > 0 {
			n.t.Fatalf("the ledger does not balance: %s", out)
		}
		for _, l := range report.Tenants {
			if l.Held != 0 {
				return errors.New(out)
			}
		}
		return nil
	})
}

func TestUnknownUsersAndForeignDomainsAreRefused(t *testing.T) {
	n := startNode(t, "")
	c := dial(t, n.smtp)
	c.say("EHLO client.example.net", "250")
	c.say("MAIL FROM:<somebody@sender.test>", "250")
	c.say("RCPT TO:<nobody@example.test>", "550 5.1.1")
	c.say("RCPT TO:<someone@elsewhere.test>", "550 5.7.1")
	for _, known := range []string{"Alice@EXAMPLE.test", "bob@example.test", "carol+tag@example.test", "postmaster@example.test", "abuse@example.test"} {
		c.say("RCPT TO:<"+known+">", "250")
	}
	c.say("RCPT TO:<postmaster>", "250")
	c.say("RSET", "250")

	s := dial(t, n.submission)
	s.say("EHLO client.example.net", "250")
	s.say("MAIL FROM:<alice@example.test>", "530 5.7.0")
}

func TestAliceSubmitsMailOverTLSAndMayUseOnlyHerOwnAddress(t *testing.T) {
	n := startNode(t, "")
	c := dial(t, n.submission)
	c.login("alice", n.password())
	c.say("MAIL FROM:<bob@example.test>", "55")
	id := c.deliver("alice@example.test", message(unique(t, 1)), "partner@other.test", "bob@example.test")
	got := n.arrives("the message to a partner", func(r received) bool {
		return r.ID == id && strings.Contains(strings.Join(r.Recipients, " "), "partner@other.test")
	})
	if !strings.Contains(got.Content, "with ESMTPSA (TLS1.3 ") || strings.Contains(got.Content, "\tfor <") {
		t.Errorf("the trace field is wrong in\n%s", got.Content)
	}
	n.balanced()
}

func TestAPermanentFailureSendsAliceAReport(t *testing.T) {
	n := startNode(t, "")
	c := dial(t, n.submission)
	c.login("alice", n.password())
	for i, domain := range []string{"refuse.test", "reject.test", "nomail.test", "missing.test"} {
		id := c.deliver("alice@example.test", message(unique(t, i)), "someone@"+domain)
		got := n.arrives("the report about "+domain, func(r received) bool {
			return r.Reverse == "" && strings.Contains(r.Content, "someone@"+domain)
		})
		if len(got.Recipients) != 1 || got.Recipients[0] != "alice@example.test" ||
			!strings.Contains(got.Content, "multipart/report") || !strings.Contains(got.Content, "Action: failed") {
			t.Errorf("the report about %s:\n%s", domain, got.Content)
		}
		n.traced(id, "bounced")
	}
	n.balanced()
}

func TestMailThatIsDeferredIsTriedAgainAndArrives(t *testing.T) {
	n := startNode(t, quickRetries)
	c := dial(t, n.submission)
	c.login("alice", n.password())
	id := c.deliver("alice@example.test", message(unique(t, 1)), "someone@slow.test")
	n.arrives("the message", func(r received) bool { return r.ID == id })
	n.traced(id, "delivered")
	if out := n.mustCLI("trace", id); strings.Count(out, "Come back in a moment") < 2 {
		t.Errorf("the trace does not show both deferrals:\n%s", out)
	}
	n.balanced()
}

func TestAReloadPutsNewUsersInForceAndABadFileChangesNothing(t *testing.T) {
	n := startNode(t, "")
	tenants := n.file("data/demo/tenants.yaml")
	old, err := os.ReadFile(tenants)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, n.smtp)
	c.say("EHLO client.example.net", "250")
	c.say("MAIL FROM:<somebody@sender.test>", "250")
	c.say("RCPT TO:<dave@example.test>", "550 5.1.1")

	changed := strings.Replace(string(old), "alice, bob, carol", "alice, bob, carol, dave", 1)
	if err := os.WriteFile(tenants, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	n.mustCLI("reload")
	c.say("RCPT TO:<dave@example.test>", "550 5.1.1") // the transaction keeps what it began with
	c.say("RSET", "250")
	c.say("MAIL FROM:<somebody@sender.test>", "250")
	c.say("RCPT TO:<dave@example.test>", "250")
	c.say("RSET", "250")

	if err := os.WriteFile(tenants, []byte(changed+"nonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := n.cli("reload"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a bad file was taken: %q, %v", out, err)
	}
	c.say("MAIL FROM:<somebody@sender.test>", "250")
	c.say("RCPT TO:<dave@example.test>", "250")
}

func TestMoreThanAThousandMessagesGoThroughOneConnection(t *testing.T) {
	n := startNode(t, "")
	c := dial(t, n.smtp)
	c.say("EHLO client.example.net", "250")
	ids := map[string]bool{}
	for i := range 1100 {
		ids[c.deliver("somebody@sender.test", message(unique(t, i)), "bob@example.test")] = true
	}
	c.say("QUIT", "221")
	if len(ids) != 1100 {
		t.Fatalf("%d different IDs", len(ids))
	}
	n.allArrive(ids)
	n.balanced()
}

// allArrive waits until every ID is in the inbox.
func (n *node) allArrive(ids map[string]bool) {
	n.t.Helper()
	n.eventually(fmt.Sprintf("all %d messages are in the demo inbox", len(ids)), func() error {
		list, err := n.inbox()
		if err != nil {
			return err
		}
		missing := len(ids)
		seen := map[string]bool{}
		for _, r := range list {
			if ids[r.ID] && !seen[r.ID] {
				seen[r.ID] = true
				missing--
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d are missing", missing)
		}
		return nil
	})
}

func TestSIGTERMLetsATransactionEndAndKeepsWhatItTook(t *testing.T) {
	n := startNode(t, "")
	idle := dial(t, n.smtp)
	idle.say("EHLO client.example.net", "250")
	c := dial(t, n.smtp)
	c.say("EHLO client.example.net", "250")
	c.say("MAIL FROM:<somebody@sender.test>", "250")
	c.say("RCPT TO:<carol@example.test>", "250")
	c.say("DATA", "354")
	c.send("Subject: half\r\n\r\nfirst half\r\n")
	n.signal(syscall.SIGTERM)
	idle.expect("421 4.3.2")
	c.send("second half\r\n.\r\n")
	id := queuedID(t, c.expect("250 2.0.0"))
	c.expect("421 4.3.2")
	if err := n.wait(); err != nil {
		t.Fatalf("the node did not end well: %v\n%s", err, n.log)
	}
	n.start()
	got := n.arrives("the message", func(r received) bool { return r.ID == id })
	if !strings.Contains(got.Content, "first half\r\nsecond half\r\n") {
		t.Errorf("content:\n%s", got.Content)
	}
	n.balanced()
}

func TestWhatWasAcknowledgedIsDeliveredAfterKill9(t *testing.T) {
	n := startNode(t, quickRetries)
	c := dial(t, n.smtp)
	c.say("EHLO client.example.net", "250")
	s := dial(t, n.submission)
	s.login("alice", n.password())
	ids := map[string]bool{}
	for i := range 50 {
		ids[c.deliver("somebody@sender.test", message(unique(t, i)), "bob@example.test")] = true
		ids[s.deliver("alice@example.test", message(unique(t, 1000+i)), fmt.Sprintf("user%d@slow.test", i))] = true
	}
	n.signal(syscall.SIGKILL)
	if err := n.wait(); err == nil {
		t.Fatal("the node survived SIGKILL")
	}
	n.start()
	n.allArrive(ids)
	n.balanced()
}

func TestAStrangerWhoseMailIsRefusedLaterGetsNoReport(t *testing.T) {
	n := startNode(t, "")
	tenants := n.file("data/demo/tenants.yaml")
	old, err := os.ReadFile(tenants)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(old), "    users:\n",
		"      - name: refuse.test\n        any: true\n        next_hop: {hosts: [\"mx.test:25\"]}\n    users:\n", 1)
	if err := os.WriteFile(tenants, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	n.mustCLI("reload")
	c := dial(t, n.smtp)
	c.say("EHLO client.example.net", "250")
	id := c.deliver("forged@victim.test", message(unique(t, 1)), "someone@refuse.test")
	n.traced(id, "dsn-suppressed")
	n.balanced()
	list, err := n.inbox()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		t.Errorf("the victim got mail: %+v", r)
	}
}

func TestProbesAndScrapersAreAnswered(t *testing.T) {
	n := startNode(t, "")
	for url, want := range map[string]string{
		"http://" + n.http + "/":           "Postern",
		"http://" + n.http + "/healthz":    "ok\n",
		"http://" + n.http + "/readyz":     "ready\n",
		"http://" + n.metrics + "/metrics": "postern_edge_accepted_total{kind=\"inbound\"} 0",
	} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, %v: no %q in\n%s", url, resp.Status, err, want, body)
		}
	}
}

func TestSIGHUPPutsANewCertificateInForceWithoutEndingSessions(t *testing.T) {
	n := startNode(t, "")
	before := dial(t, n.submission)
	before.say("EHLO client.example.net", "250")
	before.starttls()
	old := before.peerCertificate()
	if err := os.Remove(n.file("data/certificate.pem")); err != nil {
		t.Fatal(err)
	}
	other := startNode(t, "") // makes one of its own
	pem, err := os.ReadFile(other.file("data/certificate.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.file("data/certificate.pem"), pem, 0o600); err != nil {
		t.Fatal(err)
	}
	n.signal(syscall.SIGHUP)
	n.eventually("a new session sees the new certificate", func() error {
		c := dial(t, n.submission)
		c.say("EHLO client.example.net", "250")
		c.starttls()
		if c.peerCertificate() == old {
			return errors.New("it sees the old one")
		}
		return nil
	})
	before.say("EHLO client.example.net", "250")
}
