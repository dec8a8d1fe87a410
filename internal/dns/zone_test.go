package dns

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

const zoneText = `
$TTL 60
@                IN SOA ns hostmaster 1 2 3 4 5
example          MX 20 mx2.example
                 MX 10 mx1.example
mx1.example      A 192.0.2.1
                 AAAA 2001:db8::1
mx2.example      A 192.0.2.2
null             MX 0 .
alias            CNAME example
loop             CNAME pool
pool             CNAME loop
out              CNAME elsewhere.invalid.
dangling         CNAME gone
*.wild           MX 5 mx1.example
deep.down.under  A 192.0.2.3
$ORIGIN example.net.
@                MX 1 mx1.example.test.
$SERVFAIL broken
$SILENT silent
$TIMEOUT late
$AUTHENTIC example
`

func zone(t *testing.T) *Zone {
	t.Helper()
	z, err := NewZone(zoneText, "test", "example.net.")
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestAZoneAnswersMX(t *testing.T) {
	z := zone(t)
	cases := []struct {
		name string
		want string
		kind Kind
	}{
		{"example.test", "mx1.example.test mx2.example.test", 0},
		{"EXAMPLE.test.", "mx1.example.test mx2.example.test", 0},
		{"alias.test", "mx1.example.test mx2.example.test", 0},
		{"example.net", "mx1.example.test", 0},
		{"x.wild.test", "mx1.example.test", 0},
		{"y.x.wild.test", "mx1.example.test", 0},
		{"wild.test", "", NoSuchType},
		{"mx1.example.test", "", NoSuchType},
		{"down.under.test", "", NoSuchType}, // an empty non-terminal exists
		{"nobody.test", "", NoSuchName},
		{"x.deep.down.under.test", "", NoSuchName},
		{"dangling.test", "", NoSuchName},
		{"out.test", "", NoSuchType},
		{"loop.test", "", CouldNotAsk},
		{"broken.test", "", CouldNotAsk},
		{"late.test", "", CouldNotAsk},
		{"null.test", "", 0},
	}
	for _, tc := range cases {
		a, err := z.MX(t.Context(), tc.name)
		var hosts []string
		for _, r := range a.Records {
			hosts = append(hosts, r.Host)
		}
		if KindOf(err) != tc.kind || strings.Join(hosts, " ") != tc.want {
			t.Errorf("%s: got %v, %v; want %q, %q", tc.name, hosts, err, tc.want, tc.kind)
		}
		if a.Null() != (tc.name == "null.test") {
			t.Errorf("%s: null MX is %v", tc.name, a.Null())
		}
	}
}

func TestAZoneAnswersAddressesAndFacts(t *testing.T) {
	z := zone(t)
	a, err := z.Addrs(t.Context(), "mx1.example.test")
	if err != nil || len(a.Addrs) != 2 || !a.Addrs[0].Is6() || !a.Authentic || a.TTL != time.Minute {
		t.Errorf("got %+v, %v", a, err)
	}
	if _, err := z.Addrs(t.Context(), "late.test"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestASilentNameWaitsForTheCaller(t *testing.T) {
	z := zone(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := z.MX(ctx, "silent.test"); KindOf(err) != CouldNotAsk || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	z.SetFault("silent.test", 0)
	z.SetFault("example.test", ServFail)
	if _, err := z.MX(t.Context(), "silent.test"); KindOf(err) != NoSuchName {
		t.Errorf("got %v", err)
	}
	if _, err := z.MX(t.Context(), "example.test"); KindOf(err) != CouldNotAsk {
		t.Errorf("got %v", err)
	}
}

func TestASplitAsksTheZoneOnlyForItsOrigins(t *testing.T) {
	other, err := NewZone("@ MX 1 mx.example.", "example")
	if err != nil {
		t.Fatal(err)
	}
	s := Split{Zone: zone(t), Else: other}
	if a, err := s.MX(t.Context(), "example.test"); err != nil || len(a.Records) != 2 {
		t.Errorf("got %v, %v", a, err)
	}
	if a, err := s.MX(t.Context(), "example"); err != nil || a.Records[0].Host != "mx.example" {
		t.Errorf("got %v, %v", a, err)
	}
	if _, err := (Split{Zone: s.Zone}).Addrs(t.Context(), "example"); KindOf(err) != CouldNotAsk {
		t.Errorf("got %v", err)
	}
	if s.Zone.Serves("attest") || !s.Zone.Serves("TEST.") || !s.Zone.Serves("a.example.net") {
		t.Error("Serves is wrong about names beside or at an origin")
	}
}

func TestABadZoneIsRefused(t *testing.T) {
	for _, text := range []string{"@ MX nonsense", "x.example. A 192.0.2.1", "$SERVFAIL", "a A"} {
		if _, err := NewZone(text, "test"); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if _, err := NewZone(""); err == nil {
		t.Error("a zone without an origin was taken")
	}
}
