package interop_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/internal/tenant"
	"github.com/postern-mail/postern/test/harness"
)

const password = "correct horse 7"

// alice is a tenant's submission user.
func alice(t *testing.T) string {
	t.Helper()
	hash, err := tenant.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("    users:\n      - login: alice@%[1]s\n        password: %[2]q\n        addresses: [\"alice@%[1]s\"]\n", domain, hash)
}

func swaks(t *testing.T, addr string, args ...string) (string, error) {
	t.Helper()
	need(t, false, "swaks")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, "", "swaks", append([]string{"--server", host, "--port", port, "--ehlo", "client.test", "--timeout", "30", "--header", "Subject: swaks"}, args...)...)
}

func TestSwaksDeliversAndSubmits(t *testing.T) {
	sink := harness.Sink(t, oracle.SinkConfig{Keep: true})
	node := startPostern(t, sink.Addr(), "trust:\n  xclient_from: [\"127.0.0.0/8\"]\n", alice(t))
	own := "alice@" + domain
	for _, c := range []struct {
		name, addr, from string
		args             []string
	}{
		{"plain", node.SMTP, "x@else.test", nil},
		{"starttls", node.SMTP, "x@else.test", []string{"-tls"}},
		{"pipeline", node.SMTP, "x@else.test", []string{"--pipeline"}},
		{"pipeline-tls", node.SMTP, "x@else.test", []string{"-tls", "--pipeline"}},
		{"null", node.SMTP, "<>", nil},
		{"helo", node.SMTP, "x@else.test", []string{"--protocol", "SMTP"}},
		{"attachment", node.SMTP, "x@else.test", []string{"--attach-type", "text/plain", "--attach", "@/etc/services"}},
		{"xclient", node.SMTP, "x@else.test", []string{"--xclient-addr", "192.0.2.77", "--xclient-name", "far.test"}},
		{"plain-auth", node.Submission, own, []string{"-tls", "--auth", "PLAIN", "--auth-user", own, "--auth-password", password}},
		{"login-auth", node.Submission, own, []string{"-tls", "--auth", "LOGIN", "--auth-user", own, "--auth-password", password}},
		{"auth-pipeline", node.Submission, own, []string{"-tls", "--pipeline", "--auth", "PLAIN", "--auth-user", own, "--auth-password", password}},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := c.name + "@" + domain
			out, err := swaks(t, c.addr, append([]string{"--from", c.from, "--to", to}, c.args...)...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			waitCount(t, sink, to, 1)
		})
	}
	t.Run("the address that XCLIENT gave is the one in Received", func(t *testing.T) {
		for _, content := range sink.Kept() {
			if strings.Contains(string(content), "192.0.2.77") {
				return
			}
		}
		t.Error("no Received field names 192.0.2.77")
	})
}

func TestSwaksIsRefused(t *testing.T) {
	sink := harness.Sink(t, oracle.SinkConfig{})
	node := startPostern(t, sink.Addr(), "", alice(t))
	own := "alice@" + domain
	for _, c := range []struct {
		name, addr, from, to, want string
		args                       []string
	}{
		{"relaying", node.SMTP, "x@else.test", "y@foreign.test", " 550 5.7.1", nil},
		{"relaying on the submission port without a login", node.Submission, own, "y@" + domain, " 530 5.7.0", nil},
		{"a wrong password", node.Submission, own, "y@" + domain, " 535 5.7.8", []string{"-tls", "--auth", "PLAIN", "--auth-user", own, "--auth-password", "wrong"}},
		{"somebody else's address", node.Submission, "bob@" + domain, "y@" + domain, " 55", []string{"-tls", "--auth", "PLAIN", "--auth-user", own, "--auth-password", password}},
		{"XCLIENT from a stranger", node.SMTP, "x@else.test", "y@" + domain, "XCLIENT", []string{"--xclient-addr", "192.0.2.77"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := swaks(t, c.addr, append([]string{"--from", c.from, "--to", c.to}, c.args...)...)
			if err == nil || !strings.Contains(out, c.want) {
				t.Errorf("want a refusal with %q, got %v\n%s", c.want, err, out)
			}
		})
	}
	if n := len(sink.Arrivals()); n != 0 {
		t.Errorf("%d refused messages arrived", n)
	}
}
