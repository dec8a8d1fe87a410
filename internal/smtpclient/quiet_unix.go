//go:build unix

package smtpclient

import (
	"net"
	"syscall"
)

// quiet reports whether a connection on which nothing is expected stands and
// has nothing to read. It asks the kernel and does not wait: a closed
// connection would be found out only after MAIL was written, and a peer that
// said 421 in between is not asked again.
func quiet(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return true // a test's pipe: the next write or read says it
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	still := false
	// Control and not Read: Read would look at a deadline that is long over.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, rerr := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		still = rerr == syscall.EAGAIN || rerr == syscall.EWOULDBLOCK
	})
	return err == nil && still
}
