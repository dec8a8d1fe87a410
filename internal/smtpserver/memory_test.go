//go:build !race

// Not under the race detector: its memory would be counted.

package smtpserver

import (
	"bufio"
	"crypto/tls"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
)

// idleSessions opens n sessions that said EHLO, holds them open by nothing but
// a descriptor each, and returns the octets of heap and stack that the server
// uses for one.
func idleSessions(t *testing.T, n int, server Config, secure *tls.Config) uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < uint64(3*n+100) {
		t.Fatalf("%d descriptors are too few", limit.Cur)
	}
	server.MaxConnections = -1
	addr := startSink(t, server)
	files := make([]*os.File, 0, n)
	t.Cleanup(func() {
		for _, f := range files {
			_ = f.Close()
		}
	})
	files = append(files, idleSession(t, addr, secure)) // whatever is made once
	before := memory()
	for range n {
		files = append(files, idleSession(t, addr, secure))
	}
	after := memory()
	return (after - before) / uint64(n)
}

func idleSession(t *testing.T, addr string, secure *tls.Config) *os.File {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t, nc, bufio.NewReader(nc)}
	c.want("220")
	if secure != nil {
		c.say("EHLO client.example.org", "250 ")
		c.say("STARTTLS", "220 ")
		c.startTLS(secure)
	}
	c.say("EHLO client.example.org", "250 ")
	c.say("MAIL FROM:<sender@example.org>", "250 ")
	c.say("RSET", "250 ")
	f, err := nc.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close() // f keeps the connection open
	return f
}

// memory returns the octets of heap and stacks in use after a collection.
func memory() uint64 {
	for range 4 { // each collection halves a stack that is too large
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func TestAnIdlePlainSessionHoldsAtMost16KiB(t *testing.T) {
	each := idleSessions(t, 2000, Config{}, nil)
	t.Logf("%d octets per idle session", each)
	if each > 16<<10 {
		t.Errorf("%d octets per idle session, want at most 16 KiB", each)
	}
}

func TestAnIdleTLSSessionHoldsAtMost40KiB(t *testing.T) {
	server, client := testTLS(t)
	each := idleSessions(t, 1000, Config{TLS: server}, client)
	t.Logf("%d octets per idle TLS session", each)
	if each > 40<<10 {
		t.Errorf("%d octets per idle session, want at most 40 KiB", each)
	}
}
