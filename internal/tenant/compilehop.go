package tenant

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/internal/smtp"
)

// maxHosts bounds one next hop's list. Chosen: each costs a connect timeout.
const maxHosts = 16

// smtpPort is used where a host is written without one (RFC 5321 section
// 4.5.4.2 by way of IANA).
const smtpPort = 25

// hop compiles a next hop. ok is false when it routes nowhere.
func (c *compiler) hop(f *FileHop, path string) (hop NextHop, ok bool) {
	switch {
	case len(f.Hosts) == 0 && f.MX == "":
		c.problem(path, "is missing; write {hosts: [\"mail.example.net:25\"]} or {mx: example.net}")
		return NextHop{}, false
	case len(f.Hosts) > 0 && f.MX != "":
		c.problem(path, "has both hosts and mx; keep one of the two")
		return NextHop{}, false
	case f.MX != "":
		key, err := smtp.DomainKey(f.MX)
		if err != nil || strings.HasPrefix(key, "[") {
			c.problem(path+".mx", "%q is not a domain name", f.MX)
			return NextHop{}, false
		}
		return MX(key), true
	case len(f.Hosts) > maxHosts:
		c.problem(path+".hosts", "has %d hosts; at most %d", len(f.Hosts), maxHosts)
		return NextHop{}, false
	}
	return c.hosts(f.Hosts, path+".hosts")
}

func (c *compiler) hosts(hosts []string, path string) (hop NextHop, ok bool) {
	ok = true
	keys := make([]string, 0, len(hosts))
	for i, text := range hosts {
		host, reason := parseHostPort(text)
		if reason != "" {
			c.problem(fmt.Sprintf("%s[%d]", path, i), "%q %s", text, reason)
			ok = false
			continue
		}
		hop.Hosts = append(hop.Hosts, host)
		keys = append(keys, host.String())
	}
	hop.Key = boundKey(strings.Join(keys, ","))
	return hop, ok
}

// parseHostPort reads "name", "name:port", "192.0.2.1", "192.0.2.1:25" and
// "[2001:db8::1]:25". reason says what is wrong.
func parseHostPort(text string) (host HostPort, reason string) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Is6() {
		return HostPort{}, fmt.Sprintf("is an IPv6 address without brackets; write \"[%s]:25\"", addr)
	}
	var name, port string
	var withPort bool
	if strings.HasPrefix(text, "[") {
		inner, rest, closed := strings.Cut(text[1:], "]")
		if !closed || rest != "" && rest[0] != ':' {
			return HostPort{}, "is not [address]:port"
		}
		name, withPort, port = inner, rest != "", strings.TrimPrefix(rest, ":")
	} else {
		name, port, withPort = strings.Cut(text, ":")
	}
	host.Port = smtpPort
	if withPort {
		n, err := strconv.ParseUint(port, 10, 16)
		switch {
		case port == "":
			return HostPort{}, "has a colon and no port; write \":25\" or leave the colon out"
		case err != nil || n == 0:
			return HostPort{}, fmt.Sprintf("has no port from 1 to 65535 but %q", port)
		}
		host.Port = uint16(n)
	}
	if host.Host = hostKey(name, strings.HasPrefix(text, "[")); host.Host == "" {
		return HostPort{}, "names no host: want a name, an IPv4 address or an [IPv6 address]"
	}
	return host, ""
}

// hostKey returns the form in which a host is dialled, or "".
func hostKey(name string, bracketed bool) string {
	addr, err := netip.ParseAddr(name)
	switch {
	case err == nil && addr.Zone() == "" && addr.Is6() == bracketed:
		return addr.String()
	case err == nil || bracketed:
		return ""
	}
	key, err := smtp.DomainKey(name)
	if err != nil || key[0] == '[' || looksNumeric(key) {
		return ""
	}
	return key
}

// looksNumeric reports whether a name's last label is all digits: a mistyped
// IPv4 address, since no top-level domain is numeric (RFC 3696 section 2).
func looksNumeric(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	return strings.Trim(last, "0123456789") == ""
}
