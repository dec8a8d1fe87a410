package gateway

import (
	"context"
	"net"
	"net/netip"

	"github.com/postern-mail/postern/internal/dns"
	"github.com/postern-mail/postern/internal/node"
	"github.com/postern-mail/postern/internal/relay"
	"github.com/postern-mail/postern/internal/smtpclient"
)

// resolver is the way to names. A demo knows the .test zone and no name server:
// no mail leaves the machine.
func (g *gateway) resolver() dns.Resolver {
	if g.demo != nil {
		return dns.Split{Zone: g.demo.Zone}
	}
	client := dns.NewClient(dns.ClientConfig{
		Upstreams: node.AddrPorts(g.cfg.DNS.Upstreams), TrustAD: g.cfg.DNS.TrustAD, Timeout: g.cfg.DNS.Timeout.Std(),
		MaxOutstanding: g.cfg.Limits.DNSQuestions, MaxEntries: g.cfg.Limits.DNSCache, Clock: g.clock,
		Telemetry: g.tel,
	})
	g.push("name client", func(context.Context) error { return client.Close() })
	return client
}

// newRelay makes the transport of the queue.
func (g *gateway) newRelay() (*relay.Relay, error) {
	d := &g.cfg.Limits.Deadlines
	client := smtpclient.Config{
		Hostname: g.cfg.Hostname,
		Deadlines: smtpclient.Deadlines{
			Connect: d.RelayConnect.Std(), Greeting: d.RelayGreeting.Std(), Hello: d.RelayCommand.Std(),
			Mail: d.RelayCommand.Std(), Rcpt: d.RelayCommand.Std(), Data: d.RelayData.Std(),
			Block: d.RelayBlock.Std(), End: d.RelayEnd.Std(),
		},
	}
	client.Source4, client.Source6 = sources(node.Addrs(g.cfg.Relay.SourceAddresses))
	if g.demo != nil {
		client.Dialer = g.demo.Dialer(&net.Dialer{KeepAlive: -1}) // every wait has a deadline of its own
	}
	return relay.New(relay.Config{
		Resolver: g.resolver(), Client: smtpclient.New(client),
		OwnNames: []string{g.cfg.Hostname}, OwnListeners: g.ownListeners(),
		Telemetry: g.tel, Clock: g.clock,
	})
}

// sources returns the first address of each family.
func sources(all []netip.Addr) (v4, v6 netip.Addr) {
	for _, a := range all {
		switch {
		case a.Is4() && !v4.IsValid():
			v4 = a
		case a.Is6() && !v6.IsValid():
			v6 = a
		}
	}
	return v4, v6
}

// ownListeners are the addresses on which mail comes in: an MX that leads
// there is a loop.
func (g *gateway) ownListeners() []netip.AddrPort {
	var all []netip.AddrPort
	for _, s := range g.servers {
		if a, err := netip.ParseAddrPort(s.ln.Addr().String()); err == nil {
			all = append(all, a)
		}
	}
	return all
}
