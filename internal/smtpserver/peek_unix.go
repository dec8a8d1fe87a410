//go:build unix

package smtpserver

import (
	"net"
	"syscall"
)

// hasSpoken reports whether octets of the client lie in the system's buffer
// that nobody has read. It does not wait and takes none of them.
//
// It costs one system call and 32 octets of garbage a connection
// (BenchmarkLookForEarlyTalk: about 2 us on a busy machine).
func hasSpoken(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, _ = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT) // EAGAIN is the rule: n is -1
	})
	return err == nil && n > 0
}
