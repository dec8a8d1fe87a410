package demo

import (
	"context"
	"testing"

	"github.com/postern-mail/postern/internal/dns"
)

func TestEveryTestNameLeadsToTheSampleServerButForThoseThatShowOutcomes(t *testing.T) {
	zone, err := newZone()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, name := range []string{"sender.test", "slow.test", "a.b.c.test", "Example.TEST"} {
		mx, err := zone.MX(ctx, name)
		if err != nil || len(mx.Records) != 1 {
			t.Errorf("MX %s: %+v, %v", name, mx, err)
			continue
		}
		addrs, err := zone.Addrs(ctx, mx.Records[0].Host)
		if err != nil || len(addrs.Addrs) != 1 || addrs.Addrs[0].String()+":25" != mxAddress {
			t.Errorf("address of %s: %+v, %v", mx.Records[0].Host, addrs, err)
		}
	}
	for name, want := range map[string]dns.Kind{
		"missing.test": dns.NoSuchName, "broken.test": dns.CouldNotAsk, "void.test": dns.NoSuchType,
	} {
		if _, err := zone.MX(ctx, name); dns.KindOf(err) != want {
			t.Errorf("MX %s: %v; want %v", name, err, want)
		}
	}
	if _, err := zone.Addrs(ctx, "empty.test"); dns.KindOf(err) != dns.NoSuchType {
		t.Errorf("address of empty.test: %v", err)
	}
}
