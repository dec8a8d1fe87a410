//go:build !unix

package smtpserver

import "net"

// hasSpoken knows nothing here: only Config.GreetWait finds early talkers.
func hasSpoken(net.Conn) bool { return false }
