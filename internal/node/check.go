package node

import (
	"slices"
	"strings"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/yamlfile"
)

// Validate names all problems of a Config that was built in memory; nil when
// there are none.
func (c *Config) Validate() error {
	return yamlfile.Problems(c.problems()).Err()
}

// check notes all problems of the values in force, but for leaves that could
// not even be read.
func (l *loader) check() {
	unread := slices.Clone(l.problems)
	for _, p := range l.loaded.Config.problems() {
		if !slices.ContainsFunc(unread, func(u yamlfile.Problem) bool {
			return u.Path == p.Path || strings.HasPrefix(u.Path, p.Path+"[")
		}) {
			l.problem(p)
		}
	}
}

func (c *Config) problems() []yamlfile.Problem {
	var all []yamlfile.Problem
	add := func(path, format string, args ...any) { all = append(all, problemAt(path, format, args...)) }
	for _, l := range leavesOf(c) {
		if err := l.check(); err != nil {
			add(l.path, "%s", err)
		}
	}
	if c.Hostname != "" {
		if key, err := smtp.DomainKey(c.Hostname); err != nil || strings.HasPrefix(key, "[") {
			add("hostname", "%q is not a domain name", c.Hostname)
		}
	}
	if c.Data == "" {
		add("data", "is empty; name a directory")
	}
	c.checkListeners(add)
	c.checkTLS(add)
	c.checkSpool(add)
	c.checkQueue(add)
	if c.Limits.ConnectionsPerNetwork > c.Limits.Connections {
		add("limits.connections_per_network", "%d is more than limits.connections (%d)", c.Limits.ConnectionsPerNetwork, c.Limits.Connections)
	}
	if c.Limits.LanesPerHop > c.Limits.Lanes {
		add("limits.lanes_per_hop", "%d is more than limits.lanes (%d)", c.Limits.LanesPerHop, c.Limits.Lanes)
	}
	c.checkTrust(add)
	return all
}

type adder func(path, format string, args ...any)

func (c *Config) checkListeners(add adder) {
	all := c.Listeners()
	taken := make(map[string]string, len(all))
	for _, l := range all {
		path := "listen." + strings.ReplaceAll(l.Name, "-", "_")
		if strings.HasSuffix(l.Address, ":0") {
			continue
		}
		if by, twice := taken[l.Address]; twice {
			add(path, "%q is already a listener, in %s", l.Address, by)
			continue
		}
		taken[l.Address] = path
	}
	if len(all) == 0 {
		add("listen", "has no listener at all")
	}
}

func (c *Config) checkTLS(add adder) {
	switch {
	case c.TLS.Certificate != "" && c.TLS.Key == "":
		add("tls.key", "is missing; tls.certificate is set")
	case c.TLS.Certificate == "" && c.TLS.Key != "":
		add("tls.certificate", "is missing; tls.key is set")
	}
}

func (c *Config) checkSpool(add adder) {
	if c.Spool.Segment%4096 != 0 {
		add("spool.segment", "%s is not a multiple of 4KiB", c.Spool.Segment)
	}
	if c.Spool.InlineMax > c.Spool.Segment/4 {
		add("spool.inline_max", "%s is more than a quarter of spool.segment (%s)", c.Spool.InlineMax, c.Spool.Segment)
	}
	if c.Limits.OctetsInMemory < 2*c.Spool.InlineMax {
		add("limits.octets_in_memory", "%s holds not even two messages of spool.inline_max (%s)", c.Limits.OctetsInMemory, c.Spool.InlineMax)
	}
}

func (c *Config) checkQueue(add adder) {
	c.checkWaits("queue.backoff", c.Queue.Backoff, add)
	c.checkWaits("queue.site_backoff", c.Queue.SiteBackoff, add)
}

func (c *Config) checkWaits(path string, waits []Duration, add adder) {
	if len(waits) == 0 {
		add(path, "is empty; give at least one wait")
		return
	}
	for i := 1; i < len(waits); i++ {
		if waits[i] < waits[i-1] {
			add(path, "%s after %s: waits must not get shorter", waits[i], waits[i-1])
			break
		}
	}
	if last := waits[len(waits)-1]; last > c.Queue.Expiry {
		add(path, "%s is longer than queue.expiry (%s)", last, c.Queue.Expiry)
	}
}

// checkTrust refuses networks so wide that they are a mistake.
func (c *Config) checkTrust(add adder) {
	c.checkWidth("trust.networks", c.Trust.Networks, add)
	c.checkWidth("trust.xclient_from", c.Trust.XClientFrom, add)
}

func (c *Config) checkWidth(path string, networks []Network, add adder) {
	for i, n := range networks {
		least := 16
		if n.Addr().Is4() {
			least = 8
		}
		if n.IsValid() && n.Bits() < least {
			add(path, "%s (entry %d) is too wide to be trusted; at least /%d", n, i+1, least)
		}
	}
}
