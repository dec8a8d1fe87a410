package limit

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

func TestABudgetGivesAllOrNothing(t *testing.T) {
	o := NewOctets("memory_octets", 10)
	for _, c := range []struct {
		take  int64
		want  bool
		inUse int64
	}{{7, true, 7}, {4, false, 7}, {3, true, 10}, {1, false, 10}, {0, true, 10}} {
		if got := o.TryTake(c.take); got != c.want || o.InUse() != c.inUse {
			t.Fatalf("TryTake(%d) = %v with %d in use; want %v, %d", c.take, got, o.InUse(), c.want, c.inUse)
		}
	}
	o.Give(3)
	if !o.TryTake(2) || o.InUse() != 9 || o.Refusals() != 2 {
		t.Errorf("after Give: %d in use, %d refusals", o.InUse(), o.Refusals())
	}
}

func TestAHugeRequestDoesNotOverflow(t *testing.T) {
	o := NewOctets("memory_octets", 1<<62)
	if !o.TryTake(1<<62) || o.TryTake(1<<63-1) {
		t.Error("a request above the rest was granted")
	}
}

func TestAMaximumOfZeroRefuses(t *testing.T) {
	if NewCount("connections", 0).TryTake() || NewOctets("x", 0).TryTake(1) || NewKeyed[string]("k", 0).TryTake("a") {
		t.Error("granted")
	}
}

func TestGivingWhatWasNotTakenIsCountedAndMakesNoRoom(t *testing.T) {
	c := NewCount("connections", 1)
	c.Give()
	if c.InUse() != 0 || c.Misgiven() != 1 || !c.TryTake() || c.TryTake() {
		t.Errorf("count: %d in use, %d misgiven", c.InUse(), c.Misgiven())
	}
	k := NewKeyed[string]("deliveries", 1)
	k.Give("a")
	if k.InUse() != 0 || k.Misgiven() != 1 || !k.TryTake("a") || k.TryTake("a") {
		t.Errorf("keyed: %d in use, %d misgiven", k.InUse(), k.Misgiven())
	}
}

func TestALoweredMaximumHoldsForThoseWhoCome(t *testing.T) {
	c := NewCount("connections", 2)
	c.TryTake()
	c.TryTake()
	c.SetMax(1)
	c.Give()
	if c.TryTake() {
		t.Error("granted above the new maximum")
	}
	c.Give()
	if !c.TryTake() {
		t.Error("refused below the new maximum")
	}
}

func TestANilBoundBoundsNothing(t *testing.T) {
	var o *Octets
	var c *Count
	var k *Keyed[int]
	var n *Networks
	if !o.TryTake(1) || !c.TryTake() || !k.TryTake(1) || !n.TryTake(netip.Addr{}) || k.Held(1) != 0 || k.Keys() != 0 || n.Held(netip.Addr{}) != 0 {
		t.Error("a nil bound refused")
	}
	o.Give(1)
	c.Give()
	k.Give(1)
	n.Give(netip.Addr{})
}

func TestKeysDoNotTakeFromEachOtherAndLeaveNothingBehind(t *testing.T) {
	k := NewKeyed[string]("deliveries", 2)
	for i, c := range []struct {
		key  string
		want bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}} {
		if k.TryTake(c.key) != c.want {
			t.Fatalf("TryTake %d is not %v", i, c.want)
		}
	}
	if k.InUse() != 3 || k.Keys() != 2 || k.Held("a") != 2 || k.Refusals() != 1 {
		t.Errorf("in use %d, keys %d, held %d, refusals %d", k.InUse(), k.Keys(), k.Held("a"), k.Refusals())
	}
	if !k.TryTakeUpTo("a", 3) || k.TryTakeUpTo("b", 1) {
		t.Error("a key's own maximum does not hold")
	}
	for range 3 {
		k.Give("a")
	}
	k.Give("b")
	if k.InUse() != 0 || k.Keys() != 0 {
		t.Errorf("in use %d, keys %d after all was given back", k.InUse(), k.Keys())
	}
}

func TestANetworkIsOneParty(t *testing.T) {
	n := NewNetworks("connections_per_network", 1, 0, 0)
	wide := NewNetworks("connections_per_network", 1, 24, 48)
	for _, c := range []struct{ in, network, wide string }{
		{"192.0.2.7", "192.0.2.7/32", "192.0.2.0/24"},
		{"::ffff:192.0.2.7", "192.0.2.7/32", "192.0.2.0/24"},
		{"2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"fe80::1%eth0", "fe80::/64", "fe80::/48"},
	} {
		a := netip.MustParseAddr(c.in)
		if got := n.Network(a).String(); got != c.network {
			t.Errorf("Network(%s) = %s, want %s", a, got, c.network)
		}
		if got := wide.Network(a).String(); got != c.wide {
			t.Errorf("wide Network(%s) = %s, want %s", a, got, c.wide)
		}
	}
	take := func(s string) bool { return n.TryTake(netip.MustParseAddr(s)) }
	if !take("2001:db8::1") || take("2001:db8::ffff:2") || !take("2001:db8:0:1::1") || !take("192.0.2.1") || take("::ffff:192.0.2.1") {
		t.Error("wrong answers")
	}
	if !n.TryTake(netip.Addr{}) || n.TryTake(netip.Addr{}) {
		t.Error("unknown addresses are not one network")
	}
	n.Give(netip.MustParseAddr("2001:db8::9"))
	if n.Held(netip.MustParseAddr("2001:db8::1")) != 0 || n.InUse() != 3 {
		t.Errorf("in use %d", n.InUse())
	}
}

// Many takers at once: never above the maximum, and all comes back.
func TestTakersAtOnceNeverExceedTheMaximum(t *testing.T) {
	const max = 1_000
	o := NewOctets("memory_octets", max)
	k := NewKeyed[int]("deliveries", 3)
	var held [4]atomic.Int64
	var worst atomic.Int64
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for range 5_000 {
				n, key := rng.Int64N(400)+1, rng.IntN(4)
				if o.TryTake(n) {
					if u := o.InUse(); u > max {
						worst.Store(u)
					}
					runtime.Gosched()
					o.Give(n)
				}
				if k.TryTake(key) {
					if u := held[key].Add(1); u > 3 {
						worst.Store(u)
					}
					runtime.Gosched()
					held[key].Add(-1)
					k.Give(key)
				}
			}
		})
	}
	wg.Wait()
	if worst.Load() != 0 {
		t.Errorf("saw %d in use", worst.Load())
	}
	if o.InUse() != 0 || k.InUse() != 0 || k.Keys() != 0 || o.Misgiven()+k.Misgiven() != 0 {
		t.Errorf("left over: %d octets, %d held, %d keys", o.InUse(), k.InUse(), k.Keys())
	}
}

func TestBoundsAreExported(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	o := NewOctets("memory_octets", 10)
	n := NewNetworks("connections_per_network", 2, 0, 0)
	if err := Register(reg, o, n); err != nil {
		t.Fatal(err)
	}
	o.TryTake(4)
	o.TryTake(7)
	n.TryTake(netip.MustParseAddr("192.0.2.1"))
	want := `
# HELP postern_limit_in_use What is in use of a bound, over all its keys.
# TYPE postern_limit_in_use gauge
postern_limit_in_use{name="connections_per_network"} 1
postern_limit_in_use{name="memory_octets"} 4
# HELP postern_limit_keys Keys under which something is held.
# TYPE postern_limit_keys gauge
postern_limit_keys{name="connections_per_network"} 1
# HELP postern_limit_max The most that may be in use of a bound, per key where it has keys.
# TYPE postern_limit_max gauge
postern_limit_max{name="connections_per_network"} 2
postern_limit_max{name="memory_octets"} 10
# HELP postern_limit_misgiven_total How often something was given back that was not taken: a defect.
# TYPE postern_limit_misgiven_total counter
postern_limit_misgiven_total{name="connections_per_network"} 0
postern_limit_misgiven_total{name="memory_octets"} 0
# HELP postern_limit_refusals_total How often a bound refused.
# TYPE postern_limit_refusals_total counter
postern_limit_refusals_total{name="connections_per_network"} 0
postern_limit_refusals_total{name="memory_octets"} 1
`
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&got, f); err != nil {
			t.Fatal(err)
		}
	}
	if got.String() != want[1:] {
		t.Errorf("exported:\n%s", got.String())
	}
	if err := Register(reg, NewCount("memory_octets", 1)); err == nil {
		t.Error("a second bound of the same name was registered")
	}
}

func BenchmarkOctets(b *testing.B) {
	o := NewOctets("memory_octets", 1<<40)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			o.TryTake(100)
			o.Give(100)
		}
	})
}

func BenchmarkNetworks(b *testing.B) {
	n := NewNetworks("connections_per_network", 1<<40, 0, 0)
	a := netip.MustParseAddr("2001:db8::1")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n.TryTake(a)
			n.Give(a)
		}
	})
}
