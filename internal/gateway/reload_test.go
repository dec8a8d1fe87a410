package gateway

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/spool"
)

func TestAReloadThatTakesTheLastDomainAwayIsRefused(t *testing.T) {
	c := config(t)
	r := serve(t, c)
	defer r.stop(t)
	client, err := control.Dial(context.Background(), c.Data)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	file := filepath.Join(c.Data, "demo", "tenants.yaml")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []string{"", "# only a comment\n", "tenants:\n  - id: sample\n    name: Sample customer\n"} {
		if err := os.WriteFile(file, []byte(cut), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := control.Ask[control.ReloadReply](context.Background(), client, control.CallReload, control.None{})
		if err == nil || !strings.Contains(err.Error(), file+" names no domain") {
			t.Errorf("%q: %v", cut, err)
		}
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	reply, err := control.Ask[control.ReloadReply](context.Background(), client, control.CallReload, control.None{})
	if err != nil || reply.Domains != 1 || reply.Before != reply.Revision {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestALedgerWithNamedLossesBalancesInTheWordsToo(t *testing.T) {
	var l spool.TenantLedger
	l.Sources[envelope.Inbound], l.Terminal[envelope.Delivered], l.Live, l.Lost = 10, 6, 3, 1
	if w := tenantLedger("one", &l); w.Lost != 1 || w.Difference() != 0 || l.Difference() != 0 {
		t.Errorf("%+v differs by %d", w, w.Difference())
	}
}
