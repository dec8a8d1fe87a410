package control

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who connected (SO_PEERCRED: the credentials at the
// time of connect).
func peerOf(conn *net.UnixConn) (Credentials, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Credentials{}, err
	}
	var ucred *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) {
		ucred, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Credentials{}, err
	}
	if asked != nil {
		return Credentials{}, asked
	}
	return Credentials{PID: int(ucred.Pid), UID: ucred.Uid, GID: ucred.Gid}, nil
}
