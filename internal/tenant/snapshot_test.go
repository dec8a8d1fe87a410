package tenant

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/postern-mail/postern/internal/smtp"
)

const sampleFile = `
postmaster: bob@example.net
tenants:
  - id: acme
    name: Acme Ltd.
    region: eu
    outbound: {hosts: [smart.example.net]}
    domains:
      - name: example.net
        recipients: [alice, Bob, jörg, '"a b"']
        subaddress: "+"
        next_hop: {hosts: ["127.0.0.1:2526"]}
      - name: BÜCHER.example
        any: true
        next_hop: {mx: inside.example.org}
    users:
      - login: Alice
        password: '$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
        addresses: [alice@example.net, jörg@example.net]
        domains: [bücher.example]
    trusted_networks: [192.0.2.0/24, "2001:db8::/32"]
  - id: other
    domains:
      - name: plain.example
        recipients: []
        next_hop: {mx: plain.example}
    trusted_networks: [192.0.2.128/25]
`

func sample(t testing.TB) *Snapshot {
	t.Helper()
	s, err := Parse("tenants.yaml", []byte(sampleFile))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAForwardPathMatchesByItsKey(t *testing.T) {
	s := sample(t)
	cases := []struct {
		local, domain string
		want          Kind
	}{
		{"alice", "example.net", OK},
		{"ALICE", "Example.NET", OK},
		{"alice", "example.net.", OK},
		{"bob", "example.net", OK},
		{"carol", "example.net", NoSuchUser},
		{"jörg", "example.net", OK},
		{"JO\u0308RG", "example.net", OK}, // decomposed, upper case
		{"a b", "example.net", OK},        // the local-part without its quotes
		{"alice+news", "example.net", OK},
		{"alice+", "example.net", OK},
		{"+alice", "example.net", NoSuchUser},
		{"carol+news", "example.net", NoSuchUser},
		{"alice-news", "example.net", NoSuchUser},
		{"anyone", "bücher.example", OK},
		{"anyone", "xn--bcher-kva.example", OK},
		{"anyone", "XN--BCHER-KVA.example", OK},
		{"postmaster", "plain.example", OK},
		{"PostMaster", "plain.example", OK},
		{"abuse", "plain.example", OK},
		{"postmaster+x", "plain.example", NoSuchUser},
		{"alice", "plain.example", NoSuchUser},
		{"alice", "sub.example.net", NotOurs},
		{"alice", "example", NotOurs},
		{"alice", "[127.0.0.1]", NotOurs},
		{"alice", "", NotOurs},
		{"", "", NotOurs},
		{strings.Repeat("a", 5000), "example.net", NoSuchUser},
		{"alice", strings.Repeat("a", 5000), NotOurs},
	}
	for _, c := range cases {
		if got := s.Lookup(smtp.Path{Local: c.local, Domain: c.domain}); got.Kind != c.want {
			t.Errorf("%.40q@%.40q: got %v, want %v", c.local, c.domain, got.Kind, c.want)
		}
	}
}

func TestAMatchSaysWhoseMailItIsAndWhereItGoes(t *testing.T) {
	m := sample(t).Lookup(smtp.Path{Local: "Alice", Domain: "EXAMPLE.net"})
	if m.Tenant != "acme" || m.Region != "eu" || m.Domain != "example.net" || m.NextHop.Key != "127.0.0.1:2526" {
		t.Errorf("got %+v", m)
	}
	if m.Forward != (smtp.Path{Local: "Alice", Domain: "EXAMPLE.net"}) {
		t.Errorf("the path was changed to %v", m.Forward)
	}
}

func TestTheBarePostmasterReachesTheNodesPostmaster(t *testing.T) {
	m := sample(t).Lookup(smtp.Path{Local: "Postmaster"})
	if m.Kind != OK || m.Forward != (smtp.Path{Local: "bob", Domain: "example.net"}) {
		t.Errorf("configured: got %+v", m)
	}
	withDefault, err := Parse("t.yaml", []byte(strings.Replace(sampleFile, "postmaster: bob@example.net", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if m := withDefault.Lookup(smtp.Path{Local: "postmaster"}); m.Kind != OK || m.Forward.Domain != "example.net" || m.Forward.Local != "postmaster" {
		t.Errorf("by default: got %+v", m)
	}
	if m := new(Snapshot).Lookup(smtp.Path{Local: "postmaster"}); m.Kind != NotOurs {
		t.Errorf("without any domain: got %+v", m)
	}
}

func TestMailForForeignDomainsGoesByTheTenantsOutboundHopOrMX(t *testing.T) {
	s := sample(t)
	for _, c := range []struct{ tenant, domain, want string }{
		{"acme", "far.example", "smart.example.net:25"},
		{"other", "far.example", "mx:far.example"},
		{"", "far.example", "mx:far.example"},
		{"gone", "far.example", "mx:far.example"},
		{"acme", "plain.example", "mx:plain.example"}, // another tenant's domain: inside
		{"other", "xn--bcher-kva.example", "mx:inside.example.org"},
	} {
		if got := s.NextHop(c.tenant, c.domain); got.Key != c.want {
			t.Errorf("%s to %s: got %q, want %q", c.tenant, c.domain, got.Key, c.want)
		}
	}
}

func TestTheLongestTrustedPrefixDecides(t *testing.T) {
	s := sample(t)
	for _, c := range []struct{ ip, want string }{
		{"192.0.2.1", "acme"},
		{"192.0.2.200", "other"},
		{"::ffff:192.0.2.200", "other"},
		{"2001:db8:1::1", "acme"},
		{"2001:db9::1", ""},
		{"127.0.0.1", ""},
		{"::1", ""},
	} {
		got, ok := s.TrustedTenant(netip.MustParseAddr(c.ip))
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s: got %q, %v", c.ip, got, ok)
		}
	}
	if _, ok := s.TrustedTenant(netip.Addr{}); ok {
		t.Error("no address at all is trusted")
	}
}

func TestAUserMaySendOnlyFromItsOwnAddresses(t *testing.T) {
	u, ok := sample(t).User("ALICE")
	if !ok {
		t.Fatal("no user alice")
	}
	for _, c := range []struct {
		local, domain string
		want          bool
	}{
		{"alice", "example.net", true},
		{"Alice", "EXAMPLE.NET", true},
		{"alice+tag", "example.net", true},
		{"JÖRG", "example.net", true},
		{"anyone", "bücher.example", true},
		{"anyone", "xn--bcher-kva.example", true},
		{"", "", true},
		{"bob", "example.net", false},
		{"bob+alice", "example.net", false},
		{"alice", "plain.example", false},
		{"alice", "far.example", false},
		{"postmaster", "", false},
		{"alice@example.net", "far.example", false},
	} {
		if got := u.MaySend(smtp.Path{Local: c.local, Domain: c.domain}); got != c.want {
			t.Errorf("%s@%s: got %v", c.local, c.domain, got)
		}
	}
	if shown := fmt.Sprintf("%v %s", u, u); strings.Contains(shown, "argon2") {
		t.Errorf("the hash is printed: %s", shown)
	}
}

func TestLookupAgreesWithTheKeysOfPackageSMTP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		local := rapid.StringMatching(`[a-zA-Zäß.+]{1,12}`).Draw(t, "local")
		known := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zA-Zäß]{1,4}`), 0, 6, smtp.LocalKey).Draw(t, "known")
		if known == nil {
			known = []string{}
		}
		domain := rapid.SampledFrom([]string{"example.test", "EXAMPLE.test", "Exämple.test", "xn--exmple-cua.test"}).Draw(t, "domain")
		s, err := Compile(File{Tenants: []FileTenant{{ID: "a", Domains: []FileDomain{
			{Name: "example.test", Recipients: known, NextHop: FileHop{MX: "a.test"}},
			{Name: "exämple.test", Recipients: known, NextHop: FileHop{MX: "a.test"}},
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		want := NoSuchUser
		for _, k := range append([]string{"postmaster", "abuse"}, known...) {
			if (smtp.Path{Local: k, Domain: domain}).Key() == (smtp.Path{Local: local, Domain: domain}).Key() {
				want = OK
			}
		}
		if got := s.Lookup(smtp.Path{Local: local, Domain: domain}).Kind; got != want {
			t.Fatalf("%s@%s in %q: got %v, want %v", local, domain, known, got, want)
		}
	})
}

func TestASwapIsSeenWholeByEveryReader(t *testing.T) {
	make1 := func(id string) *Snapshot {
		s, err := Compile(File{Tenants: []FileTenant{{ID: id, Domains: []FileDomain{
			{Name: "a.test", Any: true, NextHop: FileHop{MX: id + ".test"}},
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, two := make1("one"), make1("two")
	h := NewHolder(one)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 5000 {
				m := h.Current().Lookup(smtp.Path{Local: "x", Domain: "a.test"})
				if m.NextHop.MXDomain != m.Tenant+".test" {
					t.Errorf("a mixture: %+v", m)
					return
				}
			}
		})
	}
	for i := range 2000 {
		if i%2 == 0 {
			h.Swap(two)
		} else {
			h.Swap(one)
		}
	}
	readers.Wait()
	if NewHolder(nil).Current().Lookup(smtp.Path{Local: "x", Domain: "a.test"}).Kind != NotOurs {
		t.Error("an empty Holder serves somebody")
	}
}

func TestLookupOfAnASCIIAddressAllocatesNothing(t *testing.T) {
	s := sample(t)
	for _, p := range []smtp.Path{
		{Local: "alice", Domain: "example.net"},
		{Local: "ALICE+tag", Domain: "EXAMPLE.net"},
		{Local: "nobody", Domain: "example.net"},
		{Local: "x", Domain: "far.example"},
	} {
		if n := testing.AllocsPerRun(100, func() { s.Lookup(p) }); n != 0 {
			t.Errorf("%v: %v allocations", p, n)
		}
	}
}

func manyDomains(b *testing.B, n int) *Snapshot {
	b.Helper()
	file := File{Tenants: make([]FileTenant, 100)}
	for i := range file.Tenants {
		file.Tenants[i].ID = fmt.Sprintf("tenant%d", i)
	}
	for i := range n {
		t := &file.Tenants[i%100]
		t.Domains = append(t.Domains, FileDomain{
			Name:       fmt.Sprintf("domain%d.example", i),
			Recipients: []string{"alice", "bob", "carol", "dave", "eve", "frank", "grace", "heidi", "ivan", "judy"},
			NextHop:    FileHop{Hosts: []string{fmt.Sprintf("mx%d.example", i%1000)}},
		})
	}
	s, err := Compile(file)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkLookupAmong100000Domains(b *testing.B) {
	s := manyDomains(b, 100_000)
	paths := make([]smtp.Path, 4096)
	for i := range paths {
		paths[i] = smtp.Path{Local: "judy", Domain: fmt.Sprintf("domain%d.example", i*24)}
	}
	for _, c := range []struct {
		name   string
		change func(smtp.Path) smtp.Path
		want   Kind
	}{
		{"known", func(p smtp.Path) smtp.Path { return p }, OK},
		{"upper-case", func(p smtp.Path) smtp.Path {
			return smtp.Path{Local: "JUDY", Domain: strings.ToUpper(p.Domain)}
		}, OK},
		{"unknown-user", func(p smtp.Path) smtp.Path { p.Local = "nobody"; return p }, NoSuchUser},
		{"foreign", func(p smtp.Path) smtp.Path { p.Domain = "x" + p.Domain; return p }, NotOurs},
	} {
		b.Run(c.name, func(b *testing.B) {
			asked := make([]smtp.Path, len(paths))
			for i := range paths {
				asked[i] = c.change(paths[i])
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if s.Lookup(asked[i&4095]).Kind != c.want {
					b.Fatal(asked[i&4095])
				}
				i++
			}
		})
	}
}

func BenchmarkParse10000Domains(b *testing.B) {
	var src strings.Builder
	src.WriteString("tenants:\n  - id: acme\n    domains:\n")
	for i := range 10_000 {
		fmt.Fprintf(&src, "      - name: domain%d.example\n        recipients: [alice, bob]\n        next_hop: {hosts: [\"mx%d.example:25\"]}\n", i, i)
	}
	b.SetBytes(int64(src.Len()))
	for b.Loop() {
		if _, err := Parse("tenants.yaml", []byte(src.String())); err != nil {
			b.Fatal(err)
		}
	}
}
