package tenant

import (
	"net/netip"
	"slices"
)

// networks finds the longest prefix that holds an address. The number of
// different lengths is small (33 + 129 at most), so it asks one map per
// length, longest first.
type networks struct {
	byPrefix map[netip.Prefix]string // masked prefix -> tenant ID
	v4, v6   []int                   // lengths in use, descending
	count    int
}

// add puts prefix, masked, into n. It reports the tenant that has it already.
func (n *networks) add(prefix netip.Prefix, tenantID string) (owner string, taken bool) {
	prefix = prefix.Masked()
	if owner, taken = n.byPrefix[prefix]; taken {
		return owner, true
	}
	if n.byPrefix == nil {
		n.byPrefix = make(map[netip.Prefix]string)
	}
	n.byPrefix[prefix] = tenantID
	n.count++
	lengths := &n.v6
	if prefix.Addr().Is4() {
		lengths = &n.v4
	}
	if !slices.Contains(*lengths, prefix.Bits()) {
		*lengths = append(*lengths, prefix.Bits())
		slices.SortFunc(*lengths, func(a, b int) int { return b - a })
	}
	return "", false
}

func (n *networks) find(ip netip.Addr) (tenantID string, ok bool) {
	ip = ip.Unmap().WithZone("")
	lengths := n.v6
	if ip.Is4() {
		lengths = n.v4
	}
	for _, bits := range lengths {
		prefix, err := ip.Prefix(bits)
		if err != nil {
			return "", false
		}
		if tenantID, ok = n.byPrefix[prefix]; ok {
			return tenantID, true
		}
	}
	return "", false
}
