package rig

import (
	"fmt"
	"strings"
)

// Hop is a domain and the host:port that its mail goes to.
type Hop struct{ Domain, Addr string }

// Tenants writes a tenants.yaml of one tenant, "drill", that takes every
// local-part of every domain. extra lines are put below the tenant, indented by
// four spaces.
func Tenants(extra string, hops ...Hop) string {
	var b strings.Builder
	b.WriteString("tenants:\n  - id: drill\n    name: Drill\n")
	b.WriteString(extra)
	b.WriteString("    domains:\n")
	for _, h := range hops {
		fmt.Fprintf(&b, "      - name: %s\n        any: true\n        next_hop:\n          hosts: [%q]\n", h.Domain, h.Addr)
	}
	return b.String()
}

// TrustLoopback is for Tenants: clients on loopback may send anywhere, and get
// DSNs.
const TrustLoopback = "    trusted_networks: [\"127.0.0.0/8\"]\n"
