package node

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/yamlfile"
)

// Size is a number of octets, written with a unit: 64B, 256KiB, 50MiB, 8GiB,
// 1TiB; kB, MB, GB, TB are powers of 1000. Never negative.
type Size int64

var errSize = errors.New(`want a size with its unit, such as "64B", "256KiB", "50MiB" or "8GiB"`)

func sizeUnit(name string) (float64, bool) {
	switch strings.ToLower(name) {
	case "b":
		return 1, true
	case "kib":
		return 1 << 10, true
	case "mib":
		return 1 << 20, true
	case "gib":
		return 1 << 30, true
	case "tib":
		return 1 << 40, true
	case "kb":
		return 1e3, true
	case "mb":
		return 1e6, true
	case "gb":
		return 1e9, true
	case "tb":
		return 1e12, true
	}
	return 0, false
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	words := strings.TrimSpace(string(text))
	digits := strings.TrimRight(words, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit, ok := sizeUnit(strings.TrimSpace(words[len(digits):]))
	number, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || strings.ContainsAny(digits, "-+eExX_") {
		return errSize
	}
	octets := number * unit
	if octets != math.Trunc(octets) || octets > 1<<62 {
		return errors.New("is not a whole number of octets")
	}
	*s = Size(octets)
	return nil
}

// String returns the largest binary unit that is exact.
func (s Size) String() string {
	for _, unit := range []struct {
		name  string
		shift uint
	}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if s != 0 && s%(1<<unit.shift) == 0 {
			return strconv.FormatInt(int64(s>>unit.shift), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Duration is a time span, written with units: 20ms, 30s, 5m, 1h30m, 5d (days
// of 24 hours). Never negative.
type Duration time.Duration

var errDuration = errors.New(`want a duration with its unit, such as "20ms", "30s", "5m", "4h" or "5d"`)

const day = 24 * time.Hour

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	words := strings.TrimSpace(string(text))
	if words == "" || words == "0" || strings.ContainsAny(words, "+-") {
		return errDuration
	}
	var days time.Duration
	if number, rest, found := strings.Cut(words, "d"); found {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return errDuration
		}
		days, words = time.Duration(n)*day, rest
		if rest == "" {
			words = "0s"
		}
	}
	span, err := time.ParseDuration(words)
	if err != nil || span > math.MaxInt64-days {
		return errDuration
	}
	*d = Duration(days + span)
	return nil
}

// String returns d as one would write it: "5d", "1h30m", "20ms".
func (d Duration) String() string {
	span := time.Duration(d)
	if span != 0 && span%day == 0 {
		return strconv.FormatInt(int64(span/day), 10) + "d"
	}
	s := span.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Address is an address to listen on: "127.0.0.1:25", "[::1]:25", ":25" for
// all addresses, "localhost:25". Port 0 lets the system choose.
type Address string

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(text []byte) error {
	words := string(text)
	host, port, found := cutLast(words, ':')
	if !found || strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return fmt.Errorf(`%q is not address:port, such as "127.0.0.1:25", "[::1]:25" or ":25"`, words)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return fmt.Errorf("%q has no port from 0 to 65535 after its last colon", words)
	}
	if host == "" || host == "localhost" {
		*a = Address(words)
		return nil
	}
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if err != nil || addr.Is6() != bracketed {
		return fmt.Errorf("%q names no address of this machine: want an IP address, localhost or nothing before the port", words)
	}
	*a = Address(words)
	return nil
}

func cutLast(s string, separator byte) (before, after string, found bool) {
	at := strings.LastIndexByte(s, separator)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+1:], true
}

// Network is an IP network such as 192.0.2.0/24.
type Network struct{ netip.Prefix }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Network) UnmarshalText(text []byte) error {
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil {
		if addr, addrErr := netip.ParseAddr(string(text)); addrErr == nil {
			return fmt.Errorf("%q has no prefix length; write %s/%d for this one address", text, addr, addr.BitLen())
		}
		return fmt.Errorf("%q is not a network; write it as 192.0.2.0/24 or 2001:db8::/32", text)
	}
	if prefix != prefix.Masked() {
		return fmt.Errorf("%q has bits beyond its length; did you mean %s?", text, prefix.Masked())
	}
	n.Prefix = prefix
	return nil
}

// Upstream is the address of a name server; port 53 when none is written.
type Upstream struct{ netip.AddrPort }

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *Upstream) UnmarshalText(text []byte) error {
	if addr, err := netip.ParseAddr(string(text)); err == nil {
		u.AddrPort = netip.AddrPortFrom(addr, 53)
		return nil
	}
	addrPort, err := netip.ParseAddrPort(string(text))
	if err != nil || addrPort.Port() == 0 {
		return fmt.Errorf(`%q is not the address of a name server, such as "127.0.0.1" or "[::1]:53"`, text)
	}
	u.AddrPort = addrPort
	return nil
}

// IP is an IP address of this machine.
type IP struct{ netip.Addr }

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *IP) UnmarshalText(text []byte) error {
	addr, err := netip.ParseAddr(string(text))
	if err != nil || addr.IsUnspecified() {
		return fmt.Errorf("%q is not an IP address", text)
	}
	i.Addr = addr
	return nil
}

// Word is one of the words that the leaf's words tag lists.
type Word string

// Prefixes returns networks as the standard library's type.
func Prefixes(networks []Network) []netip.Prefix {
	all := make([]netip.Prefix, len(networks))
	for i, n := range networks {
		all[i] = n.Prefix
	}
	return all
}

// Durations returns spans as the standard library's type.
func Durations(spans []Duration) []time.Duration {
	all := make([]time.Duration, len(spans))
	for i, d := range spans {
		all[i] = d.Std()
	}
	return all
}

// AddrPorts returns upstreams as the standard library's type.
func AddrPorts(upstreams []Upstream) []netip.AddrPort {
	all := make([]netip.AddrPort, len(upstreams))
	for i, u := range upstreams {
		all[i] = u.AddrPort
	}
	return all
}

// Addrs returns addresses as the standard library's type.
func Addrs(ips []IP) []netip.Addr {
	all := make([]netip.Addr, len(ips))
	for i, ip := range ips {
		all[i] = ip.Addr
	}
	return all
}

// problemAt makes a problem of a leaf; Load adds where it is written.
func problemAt(path, format string, args ...any) yamlfile.Problem {
	return yamlfile.Problem{Path: path, Message: fmt.Sprintf(format, args...)}
}
