//go:build !linux

package control

import (
	"errors"
	"net"
)

// peerOf refuses: this system's way to ask is not written, and a socket that
// does not know its peers must not answer them.
func peerOf(*net.UnixConn) (Credentials, error) {
	return Credentials{}, errors.New("peer credentials are not known on this system")
}
