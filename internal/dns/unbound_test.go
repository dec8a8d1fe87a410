package dns

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestUnboundIsUnderstood asks Debian's unbound, which serves some local names.
func TestUnboundIsUnderstood(t *testing.T) {
	bin, err := exec.LookPath("unbound")
	if err != nil {
		if bin = "/usr/sbin/unbound"; exec.Command(bin, "-V").Run() != nil {
			t.Fatal("unbound is not installed: run test/deps.sh")
		}
	}
	var c *Client
	for try := 1; c == nil; try++ { // its port may be taken by then
		c, err = askUnbound(t, bin)
		if err != nil && try == 4 {
			t.Fatalf("unbound does not answer: %v", err)
		}
	}
	a, err := c.MX(t.Context(), "example.test")
	if err != nil || len(a.Records) != 2 || a.Records[0].Host != "mx2.example.test" {
		t.Errorf("got %+v, %v", a, err)
	}
	if b, err := c.MX(t.Context(), "big.test"); err != nil || len(b.Records) != maxMXRecords || c.Stats().TCP == 0 {
		t.Errorf("got %d records, %v, %+v", len(b.Records), err, c.Stats())
	}
	if n, err := c.MX(t.Context(), "null.test"); err != nil || !n.Null() {
		t.Errorf("got %+v, %v", n, err)
	}
	if h, err := c.Addrs(t.Context(), "mx.example.test"); err != nil || len(h.Addrs) != 2 {
		t.Errorf("got %+v, %v", h, err)
	}
	for name, want := range map[string]Kind{"nobody.test": NoSuchName, "mx.example.test": NoSuchType, "x.refused": CouldNotAsk} {
		if _, err := c.MX(t.Context(), name); KindOf(err) != want {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
}

// askUnbound starts unbound on a port that was free a moment ago and returns a
// client of it, once it answers.
func askUnbound(t *testing.T, bin string) (*Client, error) {
	t.Helper()
	pc, l, addr := listenBoth(t)
	_, _ = pc.Close(), l.Close()
	dir := t.TempDir()
	conf := filepath.Join(dir, "unbound.conf")
	text := []string{
		"server:", "chroot: \"\"", "username: \"\"", "pidfile: \"\"", "use-syslog: no", "logfile: \"" + filepath.Join(dir, "log") + "\"",
		"do-daemonize: no", "interface: 127.0.0.1@" + strconv.Itoa(int(addr.Port())), "directory: \"" + dir + "\"",
		"do-not-query-localhost: no", "local-zone: \"test.\" static", "local-zone: \"refused.\" refuse",
		`local-data: "example.test. 300 IN MX 10 mx.example.test."`, `local-data: "example.test. 300 IN MX 5 mx2.example.test."`,
		`local-data: "mx.example.test. 300 IN A 192.0.2.1"`, `local-data: "mx.example.test. 300 IN AAAA 2001:db8::1"`,
		`local-data: "null.test. 300 IN MX 0 ."`,
	}
	for i := range 200 { // more than a packet of 1,232 octets
		text = append(text, `local-data: "big.test. 300 IN MX `+strconv.Itoa(i)+` mail-exchanger-number-`+strconv.Itoa(i)+`.example.test."`)
	}
	if err := os.WriteFile(conf, []byte(strings.Join(text, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-d", "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatalf("unbound does not start: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	c := client(t, ClientConfig{Upstreams: []netip.AddrPort{addr}, FailureTTL: time.Millisecond})
	for end := time.Now().Add(8 * time.Second); ; {
		_, err := c.MX(t.Context(), "example.test")
		if err == nil {
			return c, nil
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			return nil, fmt.Errorf("%w\n%s", err, log)
		}
	}
}
