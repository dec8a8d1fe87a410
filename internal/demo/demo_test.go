package demo

import (
	"context"
	"fmt"
	"net"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *Demo {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(Config{FS: durable.OS(), Dir: dir, Listener: ln, Logger: telemetry.Discard().Logger})
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := d.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestTheSampleTenantIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, second := open(t, dir), open(t, dir)
	if first.Password == "" || first.Password != second.Password {
		t.Errorf("passwords %q and %q", first.Password, second.Password)
	}
	snapshot, err := tenant.Load(second.TenantsFile)
	if err != nil {
		t.Fatal(err)
	}
	user, err := tenant.NewPasswords(tenant.PasswordsConfig{}).Verify(context.Background(), snapshot, "alice", first.Password)
	if err != nil || user.Tenant != "sample" {
		t.Errorf("alice may not log in: %v", err)
	}
}

func TestTheSampleServerAnswersByDomainAndKeepsWhatItTook(t *testing.T) {
	d := open(t, t.TempDir())
	conn, err := d.Dialer(new(net.Dialer)).DialContext(context.Background(), "tcp", mxAddress)
	if err != nil {
		t.Fatal(err)
	}
	client, err := smtp.NewClient(conn, "mx.test")
	if err != nil {
		t.Fatal(err)
	}
	send := func(to string) error {
		if err := client.Mail("alice@example.test"); err != nil {
			return err
		}
		defer func() { _ = client.Reset() }()
		if err := client.Rcpt(to); err != nil {
			return err
		}
		w, err := client.Data()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "Subject: %s\r\n\r\n.\r\n", to); err != nil {
			return err
		}
		return w.Close()
	}
	for _, step := range []struct{ to, want string }{
		{"someone@anything.test", ""},
		{"someone@refuse.test", "550 5.1.1"},
		{"someone@reject.test", "554 5.7.1"},
		{"someone@slow.test", "451 4.7.1"},
		{"someone@Slow.test", "451 4.7.1"},
		{"someone@slow.test", ""},
		{"other@slow.test", "451 4.7.1"},
		{"someone@later.test", "451 4.2.1"},
		{"someone@full.test", "452 4.2.2"},
	} {
		err := send(step.to)
		if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.HasPrefix(strings.ReplaceAll(err.Error(), `"`, ""), step.want)) {
			t.Errorf("%s: %v; want %q", step.to, err, step.want)
		}
	}
	if err := client.Quit(); err != nil {
		t.Error(err)
	}
	list := d.Inbox().Messages()
	if len(list) != 2 || list[0].Forward[0] != "someone@anything.test" || list[1].Subject != "someone@slow.test" || list[1].Reverse != "alice@example.test" {
		t.Errorf("kept: %+v", list)
	}
}
