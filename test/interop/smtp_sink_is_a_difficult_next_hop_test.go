package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/internal/drill/rig"
	"github.com/postern-mail/postern/test/harness"
)

// difficult is a running smtp-sink.
type difficult struct {
	cmd  *exec.Cmd
	file string
}

func startSMTPSink(t *testing.T, port int, args ...string) *difficult {
	t.Helper()
	need(t, false, "smtp-sink")
	d := &difficult{file: openDir(t) + "/count"}
	if os.Geteuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	d.cmd = exec.Command("smtp-sink", append(args, "-c", rig.Loopback(port), "100")...)
	out, err := os.Create(d.file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d.cmd.Stdout = out
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	waitPort(t, rig.Loopback(port), func() string { b, _ := os.ReadFile(d.file); return string(b) })
	return d
}

func (d *difficult) stop() {
	if d.cmd.ProcessState == nil {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait() // its status is that of SIGKILL
	}
}

// count is the number of messages taken: the last "mesg=N" that was followed
// by a carriage return.
func (d *difficult) count(t *testing.T) int {
	b, err := os.ReadFile(d.file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for part := range strings.SplitSeq(string(b), "\r") {
		if _, after, ok := strings.Cut(part, "mesg="); ok {
			_, _ = fmt.Sscanf(after, "%d", &n)
		}
	}
	return n
}

// withSenders has a second domain whose mail, DSNs above all, goes to the
// oracle's sink; loopback is trusted.
const senders = "senders.drill.test"

func startWithSenders(t *testing.T, port int) (*rig.Node, *oracle.Sink) {
	t.Helper()
	sink := harness.Sink(t, oracle.SinkConfig{})
	return harness.Start(t, rig.Config{
		YAML:    quickRetry,
		Tenants: rig.Tenants(rig.TrustLoopback, rig.Hop{Domain: domain, Addr: rig.Loopback(port)}, rig.Hop{Domain: senders, Addr: sink.Addr()}),
	}), sink
}

func send(t *testing.T, node *rig.Node, to, body, param string) {
	t.Helper()
	var log oracle.Log
	content := "Subject: x\r\nFrom: <a@" + senders + ">\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-ID: <" + to + ">\r\n\r\n" + body
	sendAll(t, node.SMTP, &log, []*oracle.Message{{ID: to, ReversePath: "a@" + senders, Recipients: []string{to}, Body: param, Content: []byte(content)}})
}

func TestSMTPSinkWithoutAnExtensionGetsItsMail(t *testing.T) {
	for name, args := range map[string][]string{
		"8BITMIME": {"-8"}, "PIPELINING": {"-p"}, "ESMTP": {"-e"}, "ENHANCEDSTATUSCODES": {"-E"}, "DSN": {"-N"},
		"a plain greeting": {"-P"}, "haste": {"-w", "1"}, "all of them": {"-8", "-p", "-E", "-N", "-a", "-C", "-F"},
	} {
		t.Run("without "+name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			hop := startSMTPSink(t, port, args...)
			node, _ := startWithSenders(t, port)
			for i := range 5 {
				send(t, node, fmt.Sprintf("r%d@%s", i, domain), "seven bits\r\n", "")
			}
			harness.Until(t, "5 messages at smtp-sink", func() bool { return hop.count(t) == 5 })
		})
	}
}

func TestEightBitContentBouncesWhereOnlySevenBitsPass(t *testing.T) {
	port := freePort(t)
	hop := startSMTPSink(t, port, "-8")
	node, sink := startWithSenders(t, port)
	to := "eight@" + domain
	send(t, node, to, "Grüße\r\n", "8BITMIME")
	waitDSN(t, sink, to)
	if n := hop.count(t); n != 0 {
		t.Errorf("%d messages were sent on as they are", n)
	}
}

func waitDSN(t *testing.T, sink *oracle.Sink, recipient string) {
	t.Helper()
	waitFor(t, sink, "a DSN about "+recipient, func(all []oracle.Arrival) bool {
		for _, a := range all {
			for _, f := range a.Failed {
				if strings.EqualFold(f, recipient) {
					return a.Recipient == "a@"+senders
				}
			}
		}
		return false
	})
}

func TestAHardRefusalBecomesADSN(t *testing.T) {
	for _, command := range []string{"mail", "rcpt", "data", "."} {
		t.Run("of "+command, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			startSMTPSink(t, port, "-f", command)
			node, sink := startWithSenders(t, port)
			to := "hard@" + domain
			send(t, node, to, "x\r\n", "")
			waitDSN(t, sink, to)
		})
	}
}

func TestASoftRefusalWaitsAndThenArrives(t *testing.T) {
	for name, args := range map[string][]string{
		"nobody listens":       {"", "connect"},
		"MAIL deferred":        {"-r", "mail"},
		"RCPT deferred":        {"-r", "rcpt"},
		"DATA deferred":        {"-r", "data"},
		"end of data deferred": {"-r", "."},
		"421 to RCPT":          {"-Q", "rcpt"},
		"hangs up at MAIL":     {"-q", "mail"},
		"hangs up at DATA":     {"-q", "data"},
		"hangs up at the end":  {"-q", "."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			var hop *difficult
			if args[1] == "connect" { // it greets nobody, so its port can't be waited for
				hop = nil
			} else {
				hop = startSMTPSink(t, port, args...)
			}
			node, sink := startWithSenders(t, port)
			to := "soft@" + domain
			send(t, node, to, "x\r\n", "")
			harness.Until(t, "the message to wait after an attempt", func() bool {
				items := queueList(t, node)
				return len(items) == 1 && items[0].Attempts > 0 && items[0].Cause != ""
			})
			if hop != nil {
				if n := hop.count(t); n != 0 && args[1] != "." { // what it refuses at the end it counts all the same
					t.Fatalf("%d messages were taken by a next hop that refuses", n)
				}
				hop.stop()
			}
			willing := harness.Sink(t, oracle.SinkConfig{Addr: rig.Loopback(port)})
			waitCount(t, willing, to, 1)
			if n := len(sink.Arrivals()); n != 0 {
				t.Errorf("%d DSNs about a delay that ended well", n)
			}
		})
	}
}

func queueList(t *testing.T, node *rig.Node) []control.QueueItem {
	t.Helper()
	var items []control.QueueItem
	harness.JSONItems(t, node, &items, "queue", "list")
	return items
}
