package tenant

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/yamlfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestEachKindOfMistakeIsNamedWithItsPlaceInOnePass(t *testing.T) {
	inputs, err := filepath.Glob("testdata/mistakes/*.yaml")
	if err != nil || len(inputs) < 8 {
		t.Fatalf("want at least 8 inputs, got %d (%v)", len(inputs), err)
	}
	for _, input := range inputs {
		name := strings.TrimSuffix(filepath.Base(input), ".yaml")
		t.Run(name, func(t *testing.T) {
			src, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Parse("tenants.yaml", src)
			if err == nil || s != nil {
				t.Fatalf("want a problem and no Snapshot, got %v, %v", s, err)
			}
			if strings.Contains(err.Error(), "planted") || strings.Contains(err.Error(), "$argon2id$v") {
				t.Errorf("a secret is shown:\n%s", err)
			}
			golden(t, strings.TrimSuffix(input, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", name, diff)
	}
}

func TestProblemsOfAFileBuiltInMemoryNameThePath(t *testing.T) {
	_, err := Compile(File{Tenants: []FileTenant{{ID: "acme", Domains: []FileDomain{{Name: "x.test", Any: true}}}}})
	var problems yamlfile.Problems
	if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Path != "tenants[0].domains[0].next_hop" {
		t.Fatalf("got %v", err)
	}
}

func TestAFileThatIsNotThereSaysSo(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "tenants.yaml"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

func TestTheRevisionIsThatOfTheOctetsRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "tenants.yaml")
	if err := os.WriteFile(name, []byte("tenants: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", sha256.Sum256([]byte("tenants: []\n")))
	if s.Revision() != want {
		t.Fatalf("got %q, want %q", s.Revision(), want)
	}
	other, err := Parse("tenants.yaml", []byte("tenants: [] \n"))
	if err != nil || other.Revision() == s.Revision() {
		t.Fatalf("different octets, same revision (%v)", err)
	}
}

func TestNextHopsAreReadInEveryForm(t *testing.T) {
	cases := []struct {
		domain FileDomain
		key    string
		hosts  []HostPort
	}{
		{
			FileDomain{NextHop: FileHop{Hosts: []string{"127.0.0.1:2526", "[::1]:25", "MX.example.NET"}}},
			"127.0.0.1:2526,[::1]:25,mx.example.net:25",
			[]HostPort{{"127.0.0.1", 2526}, {"::1", 25}, {"mx.example.net", 25}},
		},
		{
			FileDomain{NextHop: FileHop{Hosts: []string{"[2001:db8::1]", "192.0.2.1"}}},
			"[2001:db8::1]:25,192.0.2.1:25",
			[]HostPort{{"2001:db8::1", 25}, {"192.0.2.1", 25}},
		},
		{FileDomain{NextHop: FileHop{MX: "Bücher.example"}}, "mx:xn--bcher-kva.example", nil},
		{FileDomain{NextHop: FileHop{MX: "a.example"}, TLS: "required", MaxConnections: 3}, "mx:a.example tls=required max=3", nil},
		{FileDomain{NextHop: FileHop{MX: "a.example"}, TLS: "none"}, "mx:a.example tls=none", nil},
		{FileDomain{NextHop: FileHop{MX: "a.example"}, TLS: "opportunistic"}, "mx:a.example", nil},
	}
	for _, c := range cases {
		c.domain.Name, c.domain.Any = "x.test", true
		s, err := Compile(File{Tenants: []FileTenant{{ID: "acme", Domains: []FileDomain{c.domain}}}})
		if err != nil {
			t.Error(err)
			continue
		}
		hop := s.NextHop("acme", "x.test")
		if hop.Key != c.key || cmp.Diff(c.hosts, hop.Hosts) != "" {
			t.Errorf("%+v: got %+v", c.domain, hop)
		}
	}
}

func TestALongNextHopKeyIsBoundedAndStaysDistinct(t *testing.T) {
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 60) + "."
	one, two := MX(long+strings.Repeat("d", 40)), MX(long+strings.Repeat("d", 39)+"e")
	if len(one.Key) > maxKey || len(two.Key) > maxKey || one.Key == two.Key {
		t.Errorf("keys %q and %q", one.Key, two.Key)
	}
	tuned := FileDomain{Name: "x.test", Any: true, NextHop: FileHop{MX: long + strings.Repeat("d", 40)}, TLS: "required"}
	s, err := Compile(File{Tenants: []FileTenant{{ID: "a", Domains: []FileDomain{tuned}}}})
	if err != nil || len(s.NextHop("", "x.test").Key) > maxKey || s.NextHop("", "x.test").Key == one.Key {
		t.Errorf("got %v, %v", s, err)
	}
}

func FuzzParse(f *testing.F) {
	inputs, _ := filepath.Glob("testdata/mistakes/*.yaml")
	for _, input := range inputs {
		src, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte(sampleFile))
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 8192 {
			return
		}
		s, err := Parse("tenants.yaml", src)
		if (s == nil) == (err == nil) {
			t.Fatalf("want a Snapshot or an error, got %v and %v", s, err)
		}
		if err != nil {
			return
		}
		s.Lookup(smtp.Path{Local: "postmaster"})
		for _, d := range s.domains {
			if m := s.Lookup(smtp.Path{Local: "Abuse", Domain: d.name}); m.Kind != OK || m.NextHop.IsZero() {
				t.Fatalf("abuse@%s: %+v", d.name, m)
			}
		}
		for _, u := range s.users {
			if checkHash(u.hash) != "" {
				t.Fatal("a bad hash was accepted")
			}
		}
	})
}

func TestTheExampleOfTheManualCompiles(t *testing.T) {
	manual, err := os.ReadFile("../../docs/tenants.yaml.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(manual), "```yaml\n")
	example, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("the manual has no example")
	}
	s, err := Parse("docs/tenants.yaml.md", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := Counts{Tenants: 1, Domains: 2, Recipients: 3, Users: 1, Networks: 2}
	if got := s.Counts(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
