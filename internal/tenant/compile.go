package tenant

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/yamlfile"
)

// Shortest prefixes that may be trusted. Chosen: a whole /8 is the widest
// private network; anything wider is an open relay by mistake.
const (
	minTrusted4 = 8
	minTrusted6 = 16
)

// maxID is the length of the longest tenant ID and region. Chosen: a label.
const maxID = 63

// compiler turns a File into a Snapshot and gathers problems on the way.
type compiler struct {
	s        *Snapshot
	problems yamlfile.Problems
	placeOf  map[string]string // kind and key (domain, tenant ID, login) -> path
}

func compile(file File) (*Snapshot, yamlfile.Problems) {
	c := &compiler{
		s: &Snapshot{
			domains: make(map[string]*domain),
			tenants: make(map[string]*tenant, len(file.Tenants)),
			users:   make(map[string]*User),
		},
		placeOf: make(map[string]string),
	}
	for i := range file.Tenants {
		c.tenant(&file.Tenants[i], fmt.Sprintf("tenants[%d]", i))
	}
	c.postmaster(file)
	c.s.decoy = decoy(c.s.users)
	return c.s, c.problems
}

func (c *compiler) problem(path, format string, args ...any) {
	c.problems = append(c.problems, yamlfile.Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// unique reports whether key was not seen before among things of its kind; a
// second one is a problem at path.
func (c *compiler) unique(kind, key, path string) bool {
	first, taken := c.placeOf[kind+" "+key]
	if taken {
		c.problem(path, "%s %q is already at %s", kind, key, first)
		c.problems[len(c.problems)-1].See = first
		return false
	}
	c.placeOf[kind+" "+key] = path
	return true
}

func (c *compiler) tenant(f *FileTenant, path string) {
	t := &tenant{id: f.ID, name: f.Name, region: f.Region}
	switch {
	case f.ID == "":
		c.problem(path+".id", "is missing; every tenant has an id that never changes")
	case !isID(f.ID):
		c.problem(path+".id", "%q is not an id: 1 to %d of a-z, 0-9 and inner hyphens", f.ID, maxID)
	case c.unique("tenant", f.ID, path+".id"):
		c.s.tenants[f.ID] = t
	}
	if f.Region != "" && !isID(f.Region) {
		c.problem(path+".region", "%q is not a region: 1 to %d of a-z, 0-9 and inner hyphens", f.Region, maxID)
	}
	if f.Outbound != nil {
		t.outbound, _ = c.hop(f.Outbound, path+".outbound")
	}
	for i := range f.Domains {
		c.domain(t, &f.Domains[i], fmt.Sprintf("%s.domains[%d]", path, i))
	}
	for i := range f.Users {
		c.user(t, &f.Users[i], fmt.Sprintf("%s.users[%d]", path, i))
	}
	for i, network := range f.TrustedNetworks {
		c.network(t, network, fmt.Sprintf("%s.trusted_networks[%d]", path, i))
	}
}

func (c *compiler) domain(t *tenant, f *FileDomain, path string) {
	d := &domain{tenant: t, any: f.Any}
	named := c.domainName(d, f.Name, path+".name")
	d.subaddress = c.subaddress(f.Subaddress, path+".subaddress")
	c.recipients(d, f, path)
	hop, ok := c.hop(&f.NextHop, path+".next_hop")
	if ok {
		d.hop = hop
	}
	c.tune(&d.hop, f, path)
	if named && c.unique("domain", d.name, path+".name") {
		c.s.domains[d.name] = d
	}
}

func (c *compiler) domainName(d *domain, name, path string) bool {
	if name == "" {
		c.problem(path, "is missing")
		return false
	}
	key, err := smtp.DomainKey(name)
	if err != nil || strings.HasPrefix(key, "[") {
		c.problem(path, "%q is not a domain name", name)
		return false
	}
	d.name = key
	return true
}

func (c *compiler) subaddress(separator, path string) byte {
	if separator == "" {
		return 0
	}
	if len(separator) != 1 || !strings.Contains("+-_=#", separator) {
		c.problem(path, "%q can't separate a subaddress; one of + - _ = #", separator)
		return 0
	}
	return separator[0]
}

func (c *compiler) recipients(d *domain, f *FileDomain, path string) {
	switch {
	case f.Any && len(f.Recipients) > 0:
		c.problem(path+".any", "accepts every recipient, and recipients lists some; keep one of the two")
		return
	case f.Any:
		return
	case f.Recipients == nil:
		c.problem(path+".recipients", "is missing; list the local-parts, or say any: true")
		return
	}
	seen := make(map[string]int, len(f.Recipients))
	d.recipients = make([]string, 0, len(f.Recipients))
	for i, local := range f.Recipients {
		at := func() string { return fmt.Sprintf("%s.recipients[%d]", path, i) }
		key, reason := localKey(local, d.name)
		if reason != "" {
			c.problem(at(), "%q %s", local, reason)
			continue
		}
		if first, twice := seen[key]; twice {
			c.problem(at(), "%q is already in the list, as entry %d", local, first+1)
			continue
		}
		seen[key] = i
		d.recipients = append(d.recipients, key)
	}
	slices.Sort(d.recipients)
	c.s.recipients += len(d.recipients)
}

// localKey reads one entry of a list of recipients: a local-part, quoted if
// it must be. reason says what is wrong with it.
func localKey(local, domainKey string) (key, reason string) {
	if local, domain, found := strings.Cut(local, "@"); found && !strings.HasPrefix(local, `"`) {
		if k, err := smtp.DomainKey(domain); err == nil && k == domainKey {
			return "", "is a whole address; write only what stands before the @"
		}
		return "", "is an address of another domain; write local-parts only"
	}
	p, err := smtp.ParseMailbox(local + "@domain.invalid")
	if err != nil {
		return "", `is not a local-part; with spaces or special characters it is written '"like this"'`
	}
	return smtp.LocalKey(p.Local), ""
}

// tune applies what a domain says about its hop besides where it is.
func (c *compiler) tune(hop *NextHop, f *FileDomain, path string) {
	switch f.TLS {
	case "", "opportunistic":
	case "none":
		hop.TLS = TLSNone
	case "required":
		hop.TLS = TLSRequired
	default:
		c.problem(path+".tls", "%q is not a mode; one of opportunistic, none, required", f.TLS)
	}
	if f.MaxConnections < 0 || f.MaxConnections > 1000 {
		c.problem(path+".max_connections", "%d is not from 0 (the node's default) to 1000", f.MaxConnections)
	}
	hop.MaxConnections = f.MaxConnections
	if hop.Key == "" {
		return
	}
	if hop.TLS != TLSOpportunistic {
		hop.Key += " tls=" + hop.TLS.String()
	}
	if hop.MaxConnections != 0 {
		hop.Key += fmt.Sprintf(" max=%d", hop.MaxConnections)
	}
	hop.Key = boundKey(hop.Key)
}

func (c *compiler) network(t *tenant, text, path string) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			c.problem(path, "%q has no prefix length; write %s/%d for this one address", text, addr, addr.BitLen())
			return
		}
		c.problem(path, "%q is not a network; write it as 192.0.2.0/24 or 2001:db8::/32", text)
		return
	}
	shortest := minTrusted6
	if prefix.Addr().Is4() {
		shortest = minTrusted4
	}
	switch {
	case prefix.Addr().Is4In6():
		c.problem(path, "%q is an IPv4 network in IPv6 dress; write the IPv4 network", text)
	case prefix != prefix.Masked():
		c.problem(path, "%q has bits beyond its length; did you mean %s?", text, prefix.Masked())
	case prefix.Bits() < shortest:
		c.problem(path, "%q is too wide to be trusted; at least /%d", text, shortest)
	default:
		if owner, taken := c.s.networks.add(prefix, t.id); taken {
			c.problem(path, "%q is already trusted for tenant %q", text, owner)
		}
	}
}

// postmaster settles whom the bare <postmaster> reaches.
func (c *compiler) postmaster(file File) {
	if file.Postmaster == "" {
		if len(file.Tenants) > 0 && len(file.Tenants[0].Domains) > 0 {
			c.s.postmaster = smtp.Path{Local: "postmaster", Domain: file.Tenants[0].Domains[0].Name}
		}
		return
	}
	p, err := smtp.ParseMailbox(file.Postmaster)
	if err != nil || p.Domain == "" {
		c.problem("postmaster", "%q is not an address", file.Postmaster)
		return
	}
	if c.s.Lookup(p).Kind != OK {
		c.problem("postmaster", "%q is not a recipient of any domain in this file", file.Postmaster)
		return
	}
	c.s.postmaster = p
}

// isID reports whether s can be a tenant ID or a region.
func isID(s string) bool {
	if len(s) == 0 || len(s) > maxID || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
