package dns

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxChain bounds the CNAMEs that are followed in one answer. Chosen: twice
// what is seen in the wild.
const maxChain = 16

// Bounds on what one answer may make us keep; chosen.
const (
	maxMXRecords   = 64
	maxAddrRecords = 64
)

// errChain is a CNAME chain that is too long or circular.
var errChain = errors.New("CNAME chain too long")

// meaning is an answer's content. kind is 0 when there are records.
type meaning struct {
	mx    []MX
	addrs []netip.Addr
	kind  Kind
	ttl   time.Duration
	err   error
}

// interpret reads an answer whose rcode is NOERROR or NXDOMAIN.
func interpret(msg *dns.Msg, q question) meaning {
	owner, ttl, chained, err := followChain(msg.Answer, q)
	if err != nil {
		return meaning{kind: CouldNotAsk, err: err, ttl: time.Second}
	}
	if msg.Rcode == dns.RcodeNameError {
		// RFC 6604 section 3: the code is about the end of the chain, and so
		// the whole chain leads nowhere.
		return meaning{kind: NoSuchName, ttl: negativeTTL(msg)}
	}
	m := collect(msg.Answer, owner, q.qtype)
	if len(m.mx) == 0 && len(m.addrs) == 0 {
		if chained && !msg.RecursionAvailable && !hasSOA(msg) {
			return meaning{kind: CouldNotAsk, err: ErrLame, ttl: time.Second}
		}
		return meaning{kind: NoSuchType, ttl: negativeTTL(msg)}
	}
	if chained {
		m.ttl = min(m.ttl, ttl)
	}
	return m
}

// followChain walks the CNAMEs of answer from q's name to its end.
func followChain(answer []dns.RR, q question) (owner string, ttl time.Duration, chained bool, err error) {
	owner = q.name + "."
	for range maxChain {
		next := ""
		for _, rr := range answer {
			if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, owner) {
				next = c.Target
				if t := seconds(c.Hdr.Ttl); !chained || t < ttl {
					ttl = t
				}
				break
			}
		}
		if next == "" {
			return owner, ttl, chained, nil
		}
		owner, chained = next, true
	}
	return "", 0, false, errChain
}

// collect takes owner's records of the type out of answer.
func collect(answer []dns.RR, owner string, qtype uint16) meaning {
	m := meaning{ttl: 1<<62 - 1}
	for _, rr := range answer {
		h := rr.Header()
		if h.Rrtype != qtype || h.Class != dns.ClassINET || !strings.EqualFold(h.Name, owner) {
			continue
		}
		switch r := rr.(type) {
		case *dns.MX:
			if len(m.mx) < maxMXRecords {
				m.mx = append(m.mx, MX{r.Preference, hostOf(r.Mx)})
			}
		case *dns.A:
			m.addAddr(r.A)
		case *dns.AAAA:
			m.addAddr(r.AAAA)
		}
		m.ttl = min(m.ttl, seconds(h.Ttl))
	}
	sortMX(m.mx)
	return m
}

func (m *meaning) addAddr(ip []byte) {
	if a, ok := netip.AddrFromSlice(ip); ok && len(m.addrs) < maxAddrRecords {
		m.addrs = append(m.addrs, a.Unmap())
	}
}

// sortMX orders by preference and keeps the answer's order among equals.
func sortMX(mx []MX) {
	slices.SortStableFunc(mx, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
}

// negativeTTL is the lesser of the SOA's own TTL and its minimum field
// (RFC 2308 section 5). Without an SOA a refusal is not to be kept; a second
// keeps a burst of mail to one domain from asking each time.
func negativeTTL(msg *dns.Msg) time.Duration {
	for _, rr := range msg.Ns {
		if s, ok := rr.(*dns.SOA); ok {
			return seconds(min(s.Minttl, s.Hdr.Ttl))
		}
	}
	return time.Second
}

func hasSOA(msg *dns.Msg) bool {
	return slices.ContainsFunc(msg.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
}

// seconds turns a TTL into a Duration; one with the top bit set is zero
// (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}
