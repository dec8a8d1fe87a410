package smtpserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/internal/smtpwire"
	"github.com/postern-mail/postern/internal/telemetry"
)

// errProxy says that what came first is no PROXY header.
var errProxy = errors.New("no PROXY header")

// The PROXY protocol, by HAProxy's doc/proxy-protocol.txt (2020/03/05),
// sections 2.1 and 2.2.
const (
	proxyV1Line   = 107 // octets at most, with CRLF
	proxyV2Head   = 16
	proxyV2Prefix = "\r\n\r\n\x00\r\nQUIT\n"
	// proxyV2Max bounds address and TLVs together; the format allows 64 KiB and
	// real proxies send under 600 octets.
	proxyV2Max = smtpwire.CommandBuffer - proxyV2Head
)

// proxyHeader is what a header says. local means that the proxy speaks for
// itself (health checks) or does not know: the connection's addresses hold.
type proxyHeader struct {
	local    bool
	src, dst netip.AddrPort
}

// proxied reads the header that the listener requires and takes over its
// addresses. Without one the connection is closed without a word: nothing can
// be said to a proxy.
func (s *session) proxied() bool {
	var h proxyHeader
	err := errProxy
	if from := s.srv.cfg.ProxyFrom; len(from) == 0 || contains(from, s.conn.Remote.Addr()) {
		s.enter(phaseProxy)
		h, err = readProxyHeader(&s.rd)
	}
	if err != nil {
		s.srv.tally.refused.Inc()
		s.srv.tally.cuts[cutProxyHeader].Inc()
		s.srv.cfg.Logger.Warn("proxy header refused", telemetry.KeySession, s.number, telemetry.KeyListener, s.srv.cfg.Name,
			telemetry.KeyPeer, s.conn.Remote, telemetry.KeyError, err)
		return false
	}
	if !h.local {
		s.conn.ProxiedFrom = s.conn.Remote
		s.conn.Remote, s.conn.Local = h.src, h.dst
	}
	return true
}

// readProxyHeader reads a header of version 1 or 2 and nothing after it.
func readProxyHeader(rd *smtpwire.Reader) (proxyHeader, error) {
	first, err := rd.Peek(1)
	if err != nil {
		return proxyHeader{}, err
	}
	if first[0] == 'P' {
		line, err := rd.ReadLine(proxyV1Line)
		if err != nil {
			return proxyHeader{}, err
		}
		return parseProxyV1(string(line))
	}
	if first[0] != proxyV2Prefix[0] {
		return proxyHeader{}, errProxy
	}
	head, err := rd.Peek(proxyV2Head)
	if err != nil {
		return proxyHeader{}, err
	}
	n := int(binary.BigEndian.Uint16(head[14:16]))
	if !bytes.HasPrefix(head, []byte(proxyV2Prefix)) || n > proxyV2Max {
		return proxyHeader{}, errProxy
	}
	all, err := rd.Peek(proxyV2Head + n)
	if err != nil {
		return proxyHeader{}, err
	}
	h, err := parseProxyV2(all)
	rd.Consume(proxyV2Head + n)
	return h, err
}

// parseProxyV1 parses "PROXY TCP4 source destination port port".
func parseProxyV1(line string) (proxyHeader, error) {
	f := strings.Split(line, " ")
	if len(f) >= 2 && f[0] == "PROXY" && f[1] == "UNKNOWN" {
		return proxyHeader{local: true}, nil
	}
	if len(f) != 6 || f[0] != "PROXY" || f[1] != "TCP4" && f[1] != "TCP6" {
		return proxyHeader{}, errProxy
	}
	src, ok1 := parseAddrPort(f[2], f[4])
	dst, ok2 := parseAddrPort(f[3], f[5])
	v4 := f[1] == "TCP4"
	if !ok1 || !ok2 || src.Addr().Is4() != v4 || dst.Addr().Is4() != v4 {
		return proxyHeader{}, errProxy
	}
	return proxyHeader{src: unmap(src), dst: unmap(dst)}, nil
}

// parseAddrPort takes an address without zone and a port in digits, without a
// zero in front.
func parseAddrPort(addr, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' || port[0] == '+' {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, uint16(n)), true
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// parseProxyV2 parses a whole header of version 2.
func parseProxyV2(b []byte) (proxyHeader, error) {
	body := b[proxyV2Head:]
	switch b[12] {
	case 0x20:
		return proxyHeader{local: true}, nil
	case 0x21:
	default:
		return proxyHeader{}, errProxy
	}
	switch b[13] {
	case 0x00: // UNSPEC
		return proxyHeader{local: true}, nil
	case 0x11: // TCP over IPv4
		if len(body) < 12 {
			return proxyHeader{}, errProxy
		}
		src, dst := netip.AddrFrom4([4]byte(body[0:4])), netip.AddrFrom4([4]byte(body[4:8]))
		return proxyPair(src, dst, body[8:12]), nil
	case 0x21: // TCP over IPv6
		if len(body) < 36 {
			return proxyHeader{}, errProxy
		}
		src, dst := netip.AddrFrom16([16]byte(body[0:16])), netip.AddrFrom16([16]byte(body[16:32]))
		return proxyPair(src.Unmap(), dst.Unmap(), body[32:36]), nil
	}
	return proxyHeader{}, errProxy // UDP and Unix sockets bring no mail
}

func proxyPair(src, dst netip.Addr, ports []byte) proxyHeader {
	return proxyHeader{
		src: netip.AddrPortFrom(src, binary.BigEndian.Uint16(ports)),
		dst: netip.AddrPortFrom(dst, binary.BigEndian.Uint16(ports[2:])),
	}
}
