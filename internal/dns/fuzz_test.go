package dns

import (
	"testing"

	"github.com/miekg/dns"
)

// FuzzAnAnswerIsReadWithoutHarm feeds octets of a lying upstream.
func FuzzAnAnswerIsReadWithoutHarm(f *testing.F) {
	q := question{"example.org", dns.TypeMX}
	for _, text := range []string{"example.org. 300 IN MX 10 mx.", "example.org. 300 IN CNAME example.org.", soa} {
		m := newQuery(q, true)
		m.Response = true
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer = []dns.RR{rr}
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		msg := new(dns.Msg)
		if msg.Unpack(wire) != nil {
			return
		}
		matches(newQuery(q, false), msg)
		a := interpret(msg, q)
		if a.kind == 0 && len(a.mx) == 0 {
			t.Fatalf("an answer without records: %+v", a)
		}
		if len(a.mx) > maxMXRecords || a.ttl < 0 {
			t.Fatalf("unbounded: %d records, TTL %v", len(a.mx), a.ttl)
		}
	})
}
