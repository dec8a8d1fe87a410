package dns

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// ednsSize is the UDP size that we offer: what passes without fragments
// nearly everywhere (DNS flag day 2020).
const ednsSize = 1232

// maxDropped is how many packets that are not our answer a try swallows
// before it turns to TCP, which can't be guessed into. Chosen.
const maxDropped = 8

// errSuspicious: answers came that were not ours, or in the wrong case.
var errSuspicious = errors.New("answers did not match the question")

// rcodeError is an answer that says nothing about the name.
type rcodeError int

func (e rcodeError) Error() string { return "answered " + dns.RcodeToString[int(e)] }

// exchange asks the upstreams in turn, the one that answered last first, until
// one gives an answer that says something about the name.
func (c *Client) exchange(ctx context.Context, q question) (*dns.Msg, string, error) {
	ups := c.cfg.Upstreams
	first := int(c.preferred.Load())
	var server string
	var last error
	for i := 0; i < c.cfg.Rounds*len(ups); i++ {
		if err := ctx.Err(); err != nil {
			return nil, server, errors.Join(last, context.Cause(ctx))
		}
		at := (first + i) % len(ups)
		server = ups[at].String()
		msg, err := c.try(ctx, ups[at], q)
		if err == nil {
			c.preferred.Store(uint32(at))
			return msg, server, nil
		}
		last = err
	}
	return nil, server, last
}

// try asks one upstream: UDP, then TCP where UDP can't do, then without EDNS
// where it is not understood.
func (c *Client) try(ctx context.Context, up netip.AddrPort, q question) (*dns.Msg, error) {
	edns := true
	msg, err := c.overUDP(ctx, up, q, edns)
	if err == nil && msg.Rcode == dns.RcodeFormatError {
		edns = false
		msg, err = c.overUDP(ctx, up, q, edns)
	}
	if errors.Is(err, errSuspicious) || (err == nil && msg.Truncated) {
		msg, err = c.overTCP(ctx, up, q, edns)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError:
		return nil, rcodeError(msg.Rcode)
	case msg.Rcode == dns.RcodeSuccess && len(msg.Answer) == 0 && !msg.RecursionAvailable && !msg.Authoritative:
		return nil, ErrLame
	}
	return msg, nil
}

// overUDP sends one packet from a socket of its own (so that the kernel draws
// a random port) and waits for the one answer that matches.
func (c *Client) overUDP(ctx context.Context, up netip.AddrPort, q question, edns bool) (*dns.Msg, error) {
	conn, done, err := c.dial(ctx, "udp", up)
	if err != nil {
		return nil, err
	}
	defer done()
	query := newQuery(q, edns)
	wire, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack the question: %w", err)
	}
	c.count.tries.Add(1)
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	return c.readUDP(conn, query)
}

func (c *Client) readUDP(conn net.Conn, query *dns.Msg) (*dns.Msg, error) {
	buf := make([]byte, ednsSize+512)
	for dropped := 0; dropped < maxDropped; dropped++ {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		msg := new(dns.Msg)
		match := matchNot
		if uerr := msg.Unpack(buf[:n]); uerr == nil || msg.Truncated {
			match = matches(query, msg)
		}
		switch match {
		case matchYes:
			return msg, nil
		case matchButCase:
			c.count.dropped.Add(1)
			return nil, errSuspicious
		}
		c.count.dropped.Add(1)
	}
	return nil, errSuspicious
}

// overTCP asks once over a fresh connection. The case of the name is not
// held against a server here: nobody can guess into a TCP connection.
func (c *Client) overTCP(ctx context.Context, up netip.AddrPort, q question, edns bool) (*dns.Msg, error) {
	conn, done, err := c.dial(ctx, "tcp", up)
	if err != nil {
		return nil, err
	}
	defer done()
	c.count.tries.Add(1)
	c.count.tcp.Add(1)
	query := newQuery(q, edns)
	co := &dns.Conn{Conn: conn}
	if err := co.WriteMsg(query); err != nil {
		return nil, err
	}
	msg, err := co.ReadMsg()
	if err != nil {
		return nil, err
	}
	if matches(query, msg) == matchNot || msg.Truncated {
		c.count.dropped.Add(1)
		return nil, errSuspicious
	}
	return msg, nil
}

// dial opens a socket whose deadline is the try's or ctx's, the earlier one,
// and which ends at once when ctx is cancelled. done closes it.
func (c *Client) dial(ctx context.Context, network string, up netip.AddrPort) (conn net.Conn, done func(), err error) {
	deadline := time.Now().Add(c.cfg.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	d := net.Dialer{Deadline: deadline}
	conn, err = d.DialContext(ctx, network, up.String())
	if err != nil {
		return nil, nil, err
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() {
		stop()
		_ = conn.Close() // nothing was promised on this socket
	}, nil
}

// newQuery makes the question: random ID, recursion desired, AD wanted
// (RFC 6840 section 5.7), EDNS0, and the name in random case (0x20).
func newQuery(q question, edns bool) *dns.Msg {
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.RecursionDesired = true
	m.AuthenticatedData = true
	m.Question = []dns.Question{{Name: mixCase(q.name) + ".", Qtype: q.qtype, Qclass: dns.ClassINET}}
	if edns {
		m.SetEdns0(ednsSize, false)
	}
	return m
}

// mixCase draws the case of every letter at random.
func mixCase(name string) string {
	b := []byte(name)
	var bits [256 / 8]byte
	_, _ = rand.Read(bits[:]) // never fails: crypto/rand ends the process first
	for i, c := range b {
		if c >= 'a' && c <= 'z' && bits[i/8]>>(i%8)&1 == 1 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// match is how well a packet fits the question.
type match uint8

const (
	matchNot match = iota
	matchButCase
	matchYes
)

func matches(query, msg *dns.Msg) match {
	if msg.Id != query.Id || !msg.Response || msg.Opcode != dns.OpcodeQuery || len(msg.Question) != 1 {
		return matchNot
	}
	want, got := query.Question[0], msg.Question[0]
	switch {
	case got.Qtype != want.Qtype || got.Qclass != want.Qclass || !strings.EqualFold(got.Name, want.Name):
		return matchNot
	case got.Name != want.Name:
		return matchButCase
	}
	return matchYes
}
