package smtpserver

import (
	"bufio"
	"bytes"
	"net"
	"net/netip"
	"testing"
	"testing/iotest"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/postern-mail/postern/internal/smtpwire"
)

// v2 makes a header of version 2 with go-proxyproto.
func v2(t testing.TB, src, dst string, extra int) []byte {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(src)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(dst)))
	if extra > 0 {
		if err := h.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_NOOP, Value: make([]byte, extra)}}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAProxysClientIsTheClient(t *testing.T) {
	server, secure := testTLS(t)
	for _, tt := range []struct {
		name, header, src, dst string
		config                 Config
	}{
		{"v1", "PROXY TCP4 192.0.2.7 192.0.2.1 4000 25\r\n", "192.0.2.7:4000", "192.0.2.1:25", Config{}},
		{"v1 over IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 4000 25\r\n", "[2001:db8::7]:4000", "[2001:db8::1]:25", Config{}},
		{"v2", string(v2(t, "192.0.2.7:4000", "192.0.2.1:25", 0)), "192.0.2.7:4000", "192.0.2.1:25", Config{}},
		{"v2 over IPv6 with TLVs", string(v2(t, "[2001:db8::7]:4000", "[2001:db8::1]:25", 300)), "[2001:db8::7]:4000", "[2001:db8::1]:25", Config{}},
		{"v2 with implicit TLS", string(v2(t, "192.0.2.7:4000", "192.0.2.1:465", 0)), "192.0.2.7:4000", "192.0.2.1:465", Config{TLS: server, ImplicitTLS: true}},
		{"from the proxy's network", "PROXY TCP4 192.0.2.7 192.0.2.1 4000 25\r\n", "192.0.2.7:4000", "192.0.2.1:25", Config{ProxyFrom: []netip.Prefix{prefix("127.0.0.0/8")}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.ProxyProtocol = true
			var asked netip.Addr
			tt.config.Admit = func(a netip.Addr) (func(), bool) { asked = a; return func() {}, true }
			s := start(t, tt.config, nil)
			c := dial(t, s.addr)
			proxy := c.nc.LocalAddr().String()
			c.send(tt.header)
			if tt.config.ImplicitTLS {
				c.startTLS(secure)
			}
			transact(c)
			c.say(".", "250")
			f := s.rec.got()[0].conn
			if f.Remote.String() != tt.src || f.Local.String() != tt.dst || f.ProxiedFrom.String() != proxy || asked != f.Remote.Addr() {
				t.Errorf("remote %v, local %v, proxied from %v, admitted %v", f.Remote, f.Local, f.ProxiedFrom, asked)
			}
		})
	}
}

func TestAProxyThatSpeaksForItselfKeepsItsAddress(t *testing.T) {
	local := append([]byte(proxyV2Prefix), 0x20, 0, 0, 0)
	for _, header := range []string{"PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", string(local)} {
		s := start(t, Config{ProxyProtocol: true}, nil)
		c := dial(t, s.addr)
		c.send(header)
		transact(c)
		c.say(".", "250")
		if f := s.rec.got()[0].conn; f.Remote.String() != c.nc.LocalAddr().String() || f.ProxiedFrom.IsValid() {
			t.Errorf("%q: remote %v, proxied from %v", header, f.Remote, f.ProxiedFrom)
		}
	}
}

func TestAHeaderFromAStrangerIsNotBelieved(t *testing.T) {
	s := start(t, Config{ProxyProtocol: true, ProxyFrom: []netip.Prefix{prefix("192.0.2.0/24")}}, nil)
	c := dial(t, s.addr)
	c.wantClosed()
	if o, _, _ := s.rec.counts(); o != 0 {
		t.Error("a session was opened")
	}
	// And where no header is asked for, one is a command like any other.
	s = start(t, Config{}, nil)
	c = dial(t, s.addr)
	c.want("220")
	c.say("PROXY TCP4 192.0.2.7 192.0.2.1 4000 25", "500 5.5.1")
}

// FuzzProxyHeader holds the header parser against go-proxyproto: what both
// accept means the same, and what only we accept does not exist.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 192.0.2.1 4000 25\r\nEHLO"))
	f.Add([]byte("PROXY TCP6 ::1 ::2 1 2\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add(v2(f, "192.0.2.7:4000", "192.0.2.1:25", 0))
	f.Add(v2(f, "[2001:db8::7]:4000", "[2001:db8::1]:25", 20))
	f.Add(append([]byte(proxyV2Prefix), 0x20, 0, 0, 0))
	f.Fuzz(func(t *testing.T, in []byte) {
		rd := smtpwire.NewReader(iotest.OneByteReader(bytes.NewReader(in)), new(smtpwire.Buffers), smtpwire.Reject)
		defer rd.Close()
		h, err := readProxyHeader(rd)
		if err != nil {
			return
		}
		if rd.Buffered() != 0 {
			t.Fatalf("%q: %d octets read past the header", in, rd.Buffered())
		}
		want, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(in), 1<<17))
		if err != nil {
			if h.local {
				return // "PROXY UNKNOWN" with anything after it, as the specification asks
			}
			t.Fatalf("%q: accepted as %+v, go-proxyproto says %v", in, h, err)
		}
		if src, dst, ok := want.TCPAddrs(); ok && !h.local && want.Command == proxyproto.PROXY {
			if unmap(src.AddrPort()) != h.src || unmap(dst.AddrPort()) != h.dst {
				t.Fatalf("%q: %+v, go-proxyproto says %v %v", in, h, src, dst)
			}
		}
	})
}

func TestXClientNamesTheClient(t *testing.T) {
	released := 0
	var asked []netip.Addr
	admit := func(a netip.Addr) (func(), bool) { asked = append(asked, a); return func() { released++ }, true }
	s := start(t, Config{XClientFrom: []netip.Prefix{prefix("127.0.0.1/32")}, Admit: admit}, nil)
	c := dial(t, s.addr)
	front := c.nc.LocalAddr().String()
	c.want("220")
	c.send("EHLO front.example.test\r\n")
	if lines := c.reply(); lines[len(lines)-2] != "250-XCLIENT ADDR PORT NAME HELO PROTO DESTADDR DESTPORT" {
		t.Errorf("EHLO %q", lines)
	}
	c.say("XCLIENT ADDR=192.0.2.7 PORT=4000 NAME=spike.example.org HELO=spike DESTADDR=IPv6:2001:db8::1 DESTPORT=2525 PROTO=ESMTP LOGIN=root", "220")
	c.say("EHLO again.example.org", "250")
	c.say("MAIL FROM:<sender@example.org>", "250")
	c.say("RCPT TO:<alice@example.test>", "250")
	c.say("DATA", "354")
	c.say(".", "250")
	f := s.rec.got()[0].conn
	if f.Remote.String() != "192.0.2.7:4000" || f.Local.String() != "[2001:db8::1]:2525" || f.ProxiedFrom.String() != front ||
		f.PeerName != "spike.example.org" || f.Hello != "again.example.org" || f.User != "" {
		t.Errorf("%+v", f)
	}
	if o, cl, _ := s.rec.counts(); o != 2 || cl != 1 || released != 1 || len(asked) != 2 || asked[1] != f.Remote.Addr() {
		t.Errorf("%d sessions opened, %d closed, %d places released, asked for %v", o, cl, released, asked)
	}
	c.say("MAIL FROM:<sender@example.org>", "250")
	c.say("XCLIENT ADDR=192.0.2.8", "503 5.5.1")
}

func FuzzXClient(f *testing.F) {
	f.Add("ADDR=192.0.2.7 PORT=4000 NAME=a.test HELO=b PROTO=SMTP LOGIN=x DESTADDR=IPV6:::1 DESTPORT=25")
	f.Add("ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL] HELO=a+2Bb")
	f.Fuzz(func(t *testing.T, args string) {
		s := &session{conn: &Conn{}}
		c, ok := s.parseXClient(args)
		if !ok {
			return
		}
		if c.User != "" || !printable([]byte(c.Hello+c.PeerName)) || c.Hello != "" && !validHello([]byte(c.Hello)) {
			t.Fatalf("%q: %+v", args, c)
		}
	})
}
