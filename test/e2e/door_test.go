package e2e_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// raw dials without waiting for a greeting.
func raw(t *testing.T, d net.Dialer, addr string) *client {
	t.Helper()
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// wantEnd reads to the end of the connection and wants no octet before it.
func (c *client) wantEnd() {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(replyDeadline)); err != nil {
		c.t.Fatal(err)
	}
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
		c.t.Fatalf("want the end, got %q, %v", rest, err)
	}
}

func TestAListenerBehindABalancerNeedsItsPROXYHeader(t *testing.T) {
	proxied := freeAddress(t)
	n := startNode(t, "listen: {smtp_proxied: ['"+proxied+"']}\n")
	for _, header := range []string{"EHLO x.test\r\n", "PROXY TCP4 192.0.2.7 127.0.0.1 99999 25\r\n", "\x16\x03\x01\x02\x00"} {
		c := raw(t, net.Dialer{}, proxied)
		c.send(header)
		c.wantEnd()
	}
	early := raw(t, net.Dialer{}, proxied)
	early.send("PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\nEHLO early.test\r\n")
	early.expect("554 5.5.0")

	c := raw(t, net.Dialer{}, proxied)
	c.send("PROXY TCP6 2001:db8::7 2001:db8::1 4000 25\r\n")
	c.expect("220")
	c.say("EHLO client.example.net", "250")
	id := c.deliver("somebody@sender.test", message(unique(t, 1)), "alice@example.test")
	got := n.arrives("the message", func(r received) bool { return r.ID == id })
	if !strings.Contains(got.Content, "Received: from client.example.net ([IPv6:2001:db8::7])\r\n") {
		t.Errorf("the trace field does not name the client:\n%s", got.Content)
	}
}

func TestXCLIENTIsForConfiguredNetworksAndItsLOGINProvesNothing(t *testing.T) {
	n := startNode(t, "trust: {xclient_from: [127.0.0.2/32]}\n")
	stranger := dial(t, n.smtp)
	if got := stranger.say("EHLO client.example.net", "250"); strings.Contains(got, "XCLIENT") {
		t.Errorf("XCLIENT is offered to a stranger: %q", got)
	}
	stranger.say("XCLIENT ADDR=198.51.100.4", "550 5.7.0")

	c := raw(t, net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}, n.submission)
	c.expect("220")
	c.say("EHLO front.example.net", "250")
	c.say("XCLIENT ADDR=198.51.100.4 LOGIN=alice", "220")
	c.say("EHLO client.example.net", "250")
	c.say("MAIL FROM:<alice@example.test>", "530 5.7.0")
}

func TestADrainThatIsOverSays421AndTheNodeEndsWell(t *testing.T) {
	t.Parallel()
	n := startNode(t, "limits: {deadlines: {drain: 1s}}\n")
	content, mailed := dial(t, n.smtp), dial(t, n.smtp)
	for _, c := range []*client{content, mailed} {
		c.say("EHLO client.example.net", "250")
		c.say("MAIL FROM:<somebody@sender.test>", "250")
	}
	content.say("RCPT TO:<carol@example.test>", "250")
	content.say("DATA", "354")
	content.send("Subject: half\r\n\r\nfirst half\r\n")
	n.signal(syscall.SIGTERM)
	for _, c := range []*client{content, mailed} {
		c.expect("421 4.3.2")
		c.wantEnd()
	}
	if err := n.wait(); err != nil {
		t.Errorf("the node did not end well: %v\n%s", err, n.log)
	}
}

func TestAMessageThatIsDrippedIsCutByTheTimeForItsContent(t *testing.T) {
	t.Parallel()
	n := startNode(t, "limits: {deadlines: {content: 10s, content_block: 1h}}\n")
	c := dial(t, n.smtp)
	c.say("EHLO client.example.net", "250")
	c.say("MAIL FROM:<somebody@sender.test>", "250")
	c.say("RCPT TO:<carol@example.test>", "250")
	c.say("DATA", "354")
	began := time.Now()
	c.send("Subject: slow\r\n")
	c.expect("421 4.4.2")
	if took := time.Since(began); took < 9*time.Second || took > 20*time.Second {
		t.Errorf("cut after %v", took)
	}
}

// TestNoLabelComesFromOutsiders abuses every word that a client may choose and
// looks for it in what is scraped.
func TestNoLabelComesFromOutsiders(t *testing.T) {
	n := startNode(t, "")
	c := dial(t, n.smtp)
	const planted = "zzplanted"
	c.say("EHLO "+planted+".test", "250")
	c.say(planted, "500")
	c.say("MAIL FROM:<"+planted+"@sender.test> "+planted+"=1", "555")
	c.say("MAIL FROM:<"+planted+"@sender.test>", "250")
	c.say("RCPT TO:<"+planted+"@example.test>", "550 5.1.1")
	c.say("RCPT TO:<x@"+planted+".test>", "550 5.7.1")
	c.say("RSET", "250")
	c.deliver(planted+"@sender.test", message(planted), "alice+"+planted+"@example.test")
	s := dial(t, n.submission)
	s.login("alice", n.password())
	id := s.deliver("alice@example.test", message(planted), "someone@"+planted+".test")
	n.traced(id, "delivered")

	resp, err := http.Get("http://" + n.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(all), "postern_edge_refused_total{") {
		t.Fatalf("%s, %v:\n%s", resp.Status, err, all)
	}
	if strings.Contains(string(all), planted) {
		t.Errorf("an outsider's word is a label:\n%s", regexp.MustCompile(`(?m)^.*`+planted+`.*$`).FindString(string(all)))
	}
}

func TestAnEmptiedTenantsFileIsNotPutInForce(t *testing.T) {
	n := startNode(t, "")
	if err := os.WriteFile(n.file("data/demo/tenants.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := n.cli("reload"); err == nil || !strings.Contains(err.Error(), "names no domain") {
		t.Errorf("reload: %v", err)
	}
	c := dial(t, n.smtp)
	c.say("EHLO client.example.net", "250")
	c.say("MAIL FROM:<somebody@sender.test>", "250")
	c.say("RCPT TO:<alice@example.test>", "250")
}
