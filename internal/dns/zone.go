package dns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// errSwitched is what a name switched to SERVFAIL says.
var errSwitched = errors.New("answered SERVFAIL")

// Fault is how a Zone misbehaves for one name. The zero value is not at all.
type Fault uint8

// The faults.
const (
	// ServFail: CouldNotAsk at once.
	ServFail Fault = 1 + iota
	// Timeout: CouldNotAsk at once, as if the time were over.
	Timeout
	// Silent: no answer until the caller's context ends.
	Silent
)

// Zone answers from RFC 1035 master text. It is the resolver of tests and of
// the demo's .test names. It is safe for concurrent use.
//
// The text may have several $ORIGINs; what a Zone serves is every name at or
// below one of its origins. Besides RFC 1035's own, each on a line of its own:
//
//	$SERVFAIL name    questions about name are answered with CouldNotAsk
//	$TIMEOUT name     the same, as if an upstream had been silent
//	$SILENT name      no answer until the caller gives up
//	$AUTHENTIC name   answers for name and all below it are Authentic
//
// Names without a final dot are relative to the first origin. Wildcards
// (RFC 4592) and CNAMEs inside the zone are followed; delegations are not.
type Zone struct {
	mu        sync.RWMutex // guards the rest
	origins   []string     // lower-case, no final dot
	sets      map[question][]dns.RR
	names     map[string]bool // every name that exists, empty non-terminals too
	faults    map[string]Fault
	authentic []string
}

// NewZone reads text. At least one origin ("test", "example.org") is needed;
// records outside every origin are an error, as is any other bad line.
func NewZone(text string, origins ...string) (*Zone, error) {
	if len(origins) == 0 {
		return nil, errors.New("zone: no origin")
	}
	z := &Zone{sets: map[question][]dns.RR{}, names: map[string]bool{}, faults: map[string]Fault{}}
	for _, o := range origins {
		name := hostOf(o)
		z.origins = append(z.origins, name)
		z.names[name] = true
	}
	plain, err := z.takeSwitches(text)
	if err != nil {
		return nil, err
	}
	zp := dns.NewZoneParser(strings.NewReader(plain), z.origins[0]+".", "")
	zp.SetDefaultTTL(300)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if err := z.add(rr); err != nil {
			return nil, err
		}
	}
	if err := zp.Err(); err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	return z, nil
}

// takeSwitches reads the lines that are not RFC 1035's and blanks them, so
// that line numbers in errors stay true.
func (z *Zone) takeSwitches(text string) (string, error) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		var fault Fault
		switch f[0] {
		case "$SERVFAIL":
			fault = ServFail
		case "$TIMEOUT":
			fault = Timeout
		case "$SILENT":
			fault = Silent
		case "$AUTHENTIC":
		default:
			continue
		}
		if len(f) < 2 {
			return "", fmt.Errorf("zone: line %d: %s wants a name", i+1, f[0])
		}
		name := z.absolute(f[1])
		if fault == 0 {
			z.authentic = append(z.authentic, name)
		} else {
			z.faults[name] = fault
		}
		lines[i] = ""
	}
	return strings.Join(lines, "\n"), nil
}

func (z *Zone) absolute(name string) string {
	if name == "@" {
		return z.origins[0]
	}
	if strings.HasSuffix(name, ".") {
		return hostOf(name)
	}
	return hostOf(name) + "." + z.origins[0]
}

func (z *Zone) add(rr dns.RR) error {
	name := hostOf(rr.Header().Name)
	origin, ok := z.originOf(name)
	if !ok {
		return fmt.Errorf("zone: %s is outside every origin", name)
	}
	q := question{name, rr.Header().Rrtype}
	z.sets[q] = append(z.sets[q], rr)
	for n := name; n != origin; {
		z.names[n] = true
		_, n, _ = strings.Cut(n, ".")
	}
	return nil
}

func (z *Zone) originOf(name string) (string, bool) {
	for _, o := range z.origins {
		if atOrBelow(name, o) {
			return o, true
		}
	}
	return "", false
}

// atOrBelow reports whether name is top or lies below it.
func atOrBelow(name, top string) bool {
	return top == "" || name == top || strings.HasSuffix(name, "."+top)
}

// Serves reports whether name is at or below one of the zone's origins.
func (z *Zone) Serves(name string) bool {
	z.mu.RLock()
	defer z.mu.RUnlock()
	_, ok := z.originOf(hostOf(name))
	return ok
}

// SetFault switches a fault on for name, or off when f is 0.
func (z *Zone) SetFault(name string, f Fault) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if f == 0 {
		delete(z.faults, hostOf(name))
		return
	}
	z.faults[hostOf(name)] = f
}

// MX implements Resolver.
func (z *Zone) MX(ctx context.Context, domain string) (MXAnswer, error) {
	m, facts, err := z.lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return MXAnswer{}, err
	}
	return MXAnswer{Facts: facts, Records: m.mx}, nil
}

// Addrs implements Resolver.
func (z *Zone) Addrs(ctx context.Context, host string) (AddrAnswer, error) {
	m6, f6, err6 := z.lookup(ctx, host, dns.TypeAAAA)
	m4, f4, err4 := z.lookup(ctx, host, dns.TypeA)
	return joinAddrs(hostOf(host),
		AddrAnswer{Facts: f6, Addrs: m6.addrs}, err6,
		AddrAnswer{Facts: f4, Addrs: m4.addrs}, err4)
}

// lookup answers one question.
func (z *Zone) lookup(ctx context.Context, name string, qtype uint16) (meaning, Facts, error) {
	n, ok := normalName(name)
	if !ok {
		return meaning{}, Facts{}, refuseName(name, qtype)
	}
	q := question{n, qtype}
	z.mu.RLock()
	fault := z.faults[n]
	z.mu.RUnlock()
	switch fault {
	case ServFail:
		return meaning{}, Facts{}, q.couldNotAsk("zone", errSwitched)
	case Timeout:
		return meaning{}, Facts{}, q.couldNotAsk("zone", os.ErrDeadlineExceeded)
	case Silent:
		<-ctx.Done()
		return meaning{}, Facts{}, q.couldNotAsk("zone", context.Cause(ctx))
	}
	z.mu.RLock()
	defer z.mu.RUnlock()
	m := interpret(z.answer(q), q)
	if m.kind != 0 {
		return meaning{}, Facts{}, &Error{Name: n, Type: dns.TypeToString[qtype], Kind: m.kind, Server: "zone", Err: m.err}
	}
	return m, Facts{TTL: m.ttl, Authentic: z.vouches(n)}, nil
}

func (z *Zone) vouches(name string) bool {
	for _, a := range z.authentic {
		if atOrBelow(name, a) {
			return true
		}
	}
	return false
}

// answer makes the message that an authoritative server with recursion into
// its own zones would send.
func (z *Zone) answer(q question) *dns.Msg {
	msg := &dns.Msg{}
	msg.RecursionAvailable = true
	name := q.name
	for range maxChain + 1 {
		source, exists := z.source(name)
		if !exists {
			msg.Rcode = dns.RcodeNameError
			return msg
		}
		if set := z.sets[question{source, q.qtype}]; len(set) > 0 {
			msg.Answer = append(msg.Answer, owned(set, name)...)
			return msg
		}
		alias := z.sets[question{source, dns.TypeCNAME}]
		if len(alias) == 0 {
			return msg
		}
		msg.Answer = append(msg.Answer, owned(alias, name)...)
		name = hostOf(alias[0].(*dns.CNAME).Target)
		if _, ours := z.originOf(name); !ours {
			return msg
		}
	}
	return msg
}

// source returns the name whose records answer for name: itself, or the
// wildcard below its closest encloser (RFC 4592 section 3.3.1).
func (z *Zone) source(name string) (string, bool) {
	if z.names[name] {
		return name, true
	}
	for n := name; ; {
		_, parent, ok := strings.Cut(n, ".")
		if !ok {
			return "", false
		}
		if z.names[parent] {
			star := "*." + parent
			return star, z.names[star]
		}
		n = parent
	}
}

// owned copies records of a wildcard under the name that was asked for.
func owned(set []dns.RR, name string) []dns.RR {
	out := make([]dns.RR, len(set))
	for i, rr := range set {
		out[i] = dns.Copy(rr)
		out[i].Header().Name = name + "."
	}
	return out
}

// Split answers for Zone's names from Zone and for all others from Else.
type Split struct {
	Zone *Zone
	// Else is asked for all other names; nil: CouldNotAsk.
	Else Resolver
}

// MX implements Resolver.
func (s Split) MX(ctx context.Context, domain string) (MXAnswer, error) {
	r, err := s.pick(domain, "MX")
	if err != nil {
		return MXAnswer{}, err
	}
	return r.MX(ctx, domain)
}

// Addrs implements Resolver.
func (s Split) Addrs(ctx context.Context, host string) (AddrAnswer, error) {
	r, err := s.pick(host, "A/AAAA")
	if err != nil {
		return AddrAnswer{}, err
	}
	return r.Addrs(ctx, host)
}

func (s Split) pick(name, qtype string) (Resolver, error) {
	if s.Zone != nil && s.Zone.Serves(name) {
		return s.Zone, nil
	}
	if s.Else == nil {
		return nil, &Error{Name: hostOf(name), Type: qtype, Kind: CouldNotAsk, Err: errors.New("no name server is configured")}
	}
	return s.Else, nil
}

var (
	_ Resolver = (*Client)(nil)
	_ Resolver = (*Zone)(nil)
	_ Resolver = Split{}
)
