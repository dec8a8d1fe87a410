package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/internal/dns"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/tenant"
)

// place is one address to try.
type place struct {
	host string // as configured or as the MX says; the address's text for a fixed address
	addr netip.AddrPort
}

// hosts is one or more names of equal preference.
type hosts struct {
	names []tenant.HostPort
}

// route walks the places of one next hop. Names are resolved when their turn
// comes, so that a first host that answers costs no question about the others.
type route struct {
	relay  *Relay
	groups []hosts
	ready  []place
	fixed  bool // names come from our own configuration
	found  int  // places given out
	asked  int  // hosts resolved
	// Why there is no place, or no more of them; kept when nothing was found.
	doubt   *snag
	certain *snag
}

// snag is trouble with our words for it.
type snag struct {
	trouble trouble
	host    string
	detail  string
}

// begin finds the hosts of hop. A snag means that there are none.
func (r *Relay) begin(ctx context.Context, hop tenant.NextHop) (*route, *snag) {
	rt := &route{relay: r}
	switch {
	case len(hop.Hosts) > 0:
		rt.fixed = true
		for _, h := range hop.Hosts {
			rt.groups = append(rt.groups, hosts{[]tenant.HostPort{h}})
		}
		return rt, nil
	case hop.MXDomain != "":
		return rt, rt.byMX(ctx, hop.MXDomain)
	}
	return rt, &snag{trouble: trouble{naming: noRoute}, detail: "no next hop is configured"}
}

// byMX asks for the MX records of domain (RFC 5321 section 5.1).
func (rt *route) byMX(ctx context.Context, domain string) *snag {
	cfg := &rt.relay.cfg
	mx, err := cfg.Resolver.MX(ctx, domain)
	switch {
	case dns.KindOf(err) == dns.NoSuchType:
		// No MX: the domain itself, with preference 0.
		rt.groups = []hosts{{[]tenant.HostPort{{Host: domain, Port: cfg.MXPort}}}}
		return nil
	case err != nil:
		return rt.snagOf(ctx, domain, err)
	case mx.Null():
		return &snag{trouble: trouble{naming: nullMX}, host: domain, detail: "the domain accepts no mail (null MX)"}
	}
	for i := 0; i < len(mx.Records); {
		j := i + 1
		for j < len(mx.Records) && mx.Records[j].Preference == mx.Records[i].Preference {
			j++
		}
		if !rt.addGroup(mx.Records[i:j]) {
			break
		}
		i = j
	}
	if len(rt.groups) == 0 {
		return rt.loopSnag(domain)
	}
	return nil
}

// addGroup takes hosts of equal preference, shuffled. It is false when one of
// them is us: then neither it nor any worse one is of use.
func (rt *route) addGroup(records []dns.MX) bool {
	var g hosts
	for _, i := range rand.Perm(len(records)) {
		if rt.relay.ownName(records[i].Host) {
			return false
		}
		g.names = append(g.names, tenant.HostPort{Host: records[i].Host, Port: rt.relay.cfg.MXPort})
	}
	rt.groups = append(rt.groups, g)
	return true
}

// next returns the next place to try. ok is false when there is none left.
func (rt *route) next(ctx context.Context) (place, bool) {
	for len(rt.ready) == 0 && len(rt.groups) > 0 {
		g := rt.groups[0]
		rt.groups = rt.groups[1:]
		rt.resolve(ctx, g)
	}
	if len(rt.ready) == 0 || rt.found >= rt.relay.cfg.MaxAddrs {
		return place{}, false
	}
	p := rt.ready[0]
	rt.ready = rt.ready[1:]
	rt.found++
	return p, true
}

// resolve turns a group's names into places.
func (rt *route) resolve(ctx context.Context, g hosts) {
	for _, h := range g.names {
		if rt.asked >= rt.relay.cfg.MaxHosts {
			return
		}
		rt.asked++
		addrs, sn := rt.addrs(ctx, h.Host)
		if sn != nil {
			rt.note(sn)
			continue
		}
		for _, a := range interleave(addrs) {
			p := place{host: h.Host, addr: netip.AddrPortFrom(a, h.Port)}
			if rt.relay.own(p.addr) {
				rt.note(rt.loopSnag(h.Host))
				if !rt.fixed {
					// Ours, and so is the whole of this preference and below.
					rt.ready, rt.groups = nil, nil
					return
				}
				continue
			}
			rt.ready = append(rt.ready, p)
		}
	}
}

// addrs returns the addresses of one host that can be connected to.
func (rt *route) addrs(ctx context.Context, host string) ([]netip.Addr, *snag) {
	if a, err := netip.ParseAddr(host); err == nil {
		if !rt.fixed {
			return nil, &snag{trouble: trouble{naming: badAnswer}, host: host, detail: "the MX is an address and not a name"}
		}
		return []netip.Addr{a}, nil
	}
	if host == "" {
		// "." beside other records is not a null MX (RFC 7505 section 3).
		return nil, &snag{trouble: trouble{naming: badAnswer}, detail: "the MX is the root"}
	}
	ans, err := rt.relay.cfg.Resolver.Addrs(ctx, host)
	if err != nil {
		sn := rt.snagOf(ctx, host, err)
		if sn.trouble.naming == noSuchName && !rt.fixed {
			// The domain exists: what is missing is an address for its MX.
			sn.trouble.naming = noAddress
		}
		return nil, sn
	}
	usable := ans.Addrs[:0]
	for _, a := range ans.Addrs {
		if !a.IsUnspecified() && !a.IsMulticast() {
			usable = append(usable, a)
		}
	}
	if len(usable) == 0 {
		return nil, &snag{trouble: trouble{naming: badAnswer, doubtful: rt.fixed}, host: host, detail: "no address that can be connected to"}
	}
	return usable, nil
}

func (rt *route) snagOf(ctx context.Context, name string, err error) *snag {
	if ctx.Err() != nil {
		return &snag{trouble: cancelled(ctx), host: name, detail: context.Cause(ctx).Error()}
	}
	cfg := &rt.relay.cfg
	return &snag{trouble: fromDNS(err, !rt.fixed, cfg.Clock(), cfg.DoubtFor), host: name, detail: err.Error()}
}

func (rt *route) loopSnag(host string) *snag {
	return &snag{trouble: trouble{naming: loops}, host: host, detail: fmt.Sprintf("%s is this node itself", host)}
}

// note keeps why a host gave no place: doubt outweighs certainty.
func (rt *route) note(sn *snag) {
	if decide(sn.trouble).verdict == envelope.AdviceFail {
		rt.certain = sn
		return
	}
	rt.doubt = sn
}

// why says why there was no place at all, or nil when there was one.
func (rt *route) why() *snag {
	switch {
	case rt.found > 0:
		return rt.doubt
	case rt.doubt != nil:
		return rt.doubt
	case rt.certain != nil:
		return rt.certain
	}
	return &snag{trouble: trouble{naming: noRoute}, detail: "no host is left to try"}
}

// interleave orders addresses IPv6 first and then alternating, each family in
// the order of its answer.
func interleave(addrs []netip.Addr) []netip.Addr {
	var v6, v4 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	out := make([]netip.Addr, 0, len(addrs))
	for len(v6) > 0 || len(v4) > 0 {
		if len(v6) > 0 {
			out, v6 = append(out, v6[0]), v6[1:]
		}
		if len(v4) > 0 {
			out, v4 = append(out, v4[0]), v4[1:]
		}
	}
	return out
}

// tryUntil is when no further host is turned to.
func (r *Relay) tryUntil(now time.Time) time.Time { return now.Add(r.cfg.TryFor) }
