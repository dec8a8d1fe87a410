package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/control"
)

func TestNodeCheckNamesFilesThatAreNotThere(t *testing.T) {
	t.Chdir(t.TempDir())
	for file, content := range map[string]string{
		"postern.yaml": "tls:\n  certificate: c.pem\n  key: k.pem\ntenants: t.yaml\n", "c.pem": "no PEM\n",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := run(t, "", "node", "check")
	for _, want := range []string{
		"postern.yaml:3:8: tls.key: open k.pem: no such file or directory\n",
		"postern.yaml:4:10: tenants: stat t.yaml: no such file or directory\n", "\n2 problems\n",
	} {
		if got.status != 1 || !strings.Contains(got.out, want) {
			t.Errorf("no %q in\n%s", want, got.out)
		}
	}
	if err := os.WriteFile("k.pem", []byte("no PEM either\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got = run(t, "", "node", "check")
	if want := "postern.yaml:2:16: tls.certificate: tls: failed to find any PEM data"; got.status != 1 || !strings.Contains(got.out, want) {
		t.Errorf("no %q in\n%s", want, got.out)
	}
}

func TestTheInboxNamesSomeOfManyRecipients(t *testing.T) {
	m := control.InboxMessage{Number: 1, Reverse: "a@b.test"}
	for range 1000 {
		m.Recipients = append(m.Recipients, "alice@example.test")
	}
	var out strings.Builder
	p := (&app{stdout: &out, now: time.Now, zone: time.UTC}).paper()
	renderInbox(p, &m)
	if err := p.done(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "alice@example.test"); n != inboxPaths || !strings.Contains(out.String(), "and 992") {
		t.Errorf("%d recipients in\n%s", n, out.String())
	}
	fits(t, out.String())
}

func TestATraceOfAnUnknownClientSaysSo(t *testing.T) {
	var out strings.Builder
	p := (&app{stdout: &out, now: time.Now, zone: time.UTC}).paper()
	renderArrival(p, &control.Arrival{Protocol: "SMTP", Server: "192.0.2.1:25", Listener: "smtp"})
	if err := p.done(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "from unknown, HELO unknown") {
		t.Errorf("%s", out.String())
	}
}
