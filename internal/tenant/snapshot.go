package tenant

import (
	"net/netip"
	"strings"

	"github.com/postern-mail/postern/internal/smtp"
)

// Kind says how a forward-path matched. The zero value is NotOurs.
type Kind uint8

// The values of Kind.
const (
	// NotOurs is a domain that no tenant has: relaying.
	NotOurs Kind = iota
	// NoSuchUser is a domain of a tenant without that recipient.
	NoSuchUser
	// OK is a recipient to accept mail for.
	OK
)

// Match is the answer of Snapshot.Lookup. Tenant, Region, Domain and NextHop
// are set unless Kind is NotOurs.
type Match struct {
	Kind    Kind
	Tenant  string // tenant ID
	Region  string // "" when the tenant names none
	Domain  string // the domain's key: a lower-case A-label name
	NextHop NextHop
	// Forward is the path to put into the envelope. It is the path asked for,
	// except for the bare <postmaster>, which becomes the node's postmaster.
	Forward smtp.Path
}

// Snapshot is one compiled state of all tenants. It is immutable and safe for
// concurrent use. The zero value serves nobody.
type Snapshot struct {
	revision   string
	domains    map[string]*domain
	tenants    map[string]*tenant
	users      map[string]*User
	networks   networks
	postmaster smtp.Path
	decoy      string // a hash of no password, for unknown logins
	recipients int
}

type tenant struct {
	id, name, region string
	outbound         NextHop
}

type domain struct {
	tenant     *tenant
	name       string // key
	any        bool
	recipients []string // keys of local-parts, sorted
	subaddress byte     // 0: off
	hop        NextHop
}

// Counts says how much a Snapshot holds.
type Counts struct {
	Tenants    int `json:"tenants"`
	Domains    int `json:"domains"`
	Recipients int `json:"recipients"`
	Users      int `json:"users"`
	Networks   int `json:"networks"`
}

// Revision returns the SHA-256 of the file as it was read, 64 hexadecimal
// digits; "" for a Snapshot that was compiled from a File in memory.
func (s *Snapshot) Revision() string { return s.revision }

// Counts returns how much s holds.
func (s *Snapshot) Counts() Counts {
	return Counts{
		Tenants: len(s.tenants), Domains: len(s.domains), Recipients: s.recipients,
		Users: len(s.users), Networks: s.networks.count,
	}
}

// Lookup says whether mail for p is to be accepted, and for whom. It
// allocates nothing when p is ASCII.
func (s *Snapshot) Lookup(p smtp.Path) Match {
	if p.Domain == "" {
		if !strings.EqualFold(p.Local, "postmaster") || s.postmaster.IsNull() {
			return Match{}
		}
		p = s.postmaster
	}
	var localSpace, domainSpace [maxFolded]byte
	local, domainKey, ok := foldPath(&localSpace, &domainSpace, p)
	if !ok {
		return Match{}
	}
	d := s.domains[string(domainKey)]
	if d == nil {
		return Match{}
	}
	m := Match{
		Kind: NoSuchUser, Tenant: d.tenant.id, Region: d.tenant.region,
		Domain: d.name, NextHop: d.hop, Forward: p,
	}
	if d.accepts(local) {
		m.Kind = OK
	}
	return m
}

// NextHop returns where mail for domainKey goes: the domain's own next hop
// when a tenant has the domain, else the outbound hop of tenantID (whose mail
// it is; "" for the node's own), else the domain's MX hosts. It is asked at
// each attempt, so that a reload takes effect on mail that waits.
func (s *Snapshot) NextHop(tenantID, domainKey string) NextHop {
	if d := s.domains[domainKey]; d != nil {
		return d.hop
	}
	if t := s.tenants[tenantID]; t != nil && !t.outbound.IsZero() {
		return t.outbound
	}
	return MX(domainKey)
}

// TrustedTenant returns the tenant whose trusted networks hold ip, the
// longest prefix deciding.
func (s *Snapshot) TrustedTenant(ip netip.Addr) (tenantID string, ok bool) {
	return s.networks.find(ip)
}

// User returns the submission user with that login. Logins are matched
// without regard to letter case.
func (s *Snapshot) User(login string) (*User, bool) {
	u, ok := s.users[loginKey(login)]
	return u, ok
}

// HasTenant reports whether a tenant with that ID exists.
func (s *Snapshot) HasTenant(id string) bool { return s.tenants[id] != nil }

// Region returns the region of a tenant, "" when it names none or is unknown.
func (s *Snapshot) Region(tenantID string) string {
	if t := s.tenants[tenantID]; t != nil {
		return t.region
	}
	return ""
}

// accepts reports whether local, folded, is a recipient of d.
func (d *domain) accepts(local []byte) bool {
	if d.any || isRole(local) || holds(d.recipients, local) {
		return true
	}
	base := d.base(local)
	return len(base) < len(local) && holds(d.recipients, base)
}

// base cuts the subaddress off local. It returns local itself when the domain
// has none or nothing would be left.
func (d *domain) base(local []byte) []byte {
	if d.subaddress == 0 {
		return local
	}
	for i, b := range local {
		if b == d.subaddress && i > 0 {
			return local[:i]
		}
	}
	return local
}

// isRole reports whether local must exist in every domain: postmaster (RFC
// 5321 section 4.5.1) and abuse (RFC 2142 section 2).
func isRole(local []byte) bool {
	return string(local) == "postmaster" || string(local) == "abuse"
}

// holds searches a sorted list without allocating.
func holds(sorted []string, key []byte) bool {
	low, high := 0, len(sorted)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if sorted[middle] < string(key) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low < len(sorted) && sorted[low] == string(key)
}
