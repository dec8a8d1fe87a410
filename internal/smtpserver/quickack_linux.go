package smtpserver

import (
	"net"
	"syscall"
)

// acknowledge sends the acknowledgement that the system holds back in the hope
// of data to go with it. After a TLS 1.3 handshake there is none: the client
// spoke last, and one with Nagle's algorithm on keeps its EHLO
// until it hears, 40 ms later.
func acknowledge(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) // only sooner or later
	})
}
