//go:build !linux

package smtpserver

import "net"

// acknowledge leaves the pace to the system.
func acknowledge(net.Conn) {}
