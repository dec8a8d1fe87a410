package rig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports that nodes get. The upper end lies below the kernel's default
// net.ipv4.ip_local_port_range.
const (
	portMin = 12000
	portMax = 32000
)

// FreePort returns a loopback TCP port that nobody listens on.
func FreePort() (int, error) {
	var last error
	for range 200 {
		port := portMin + rand.IntN(portMax-portMin)
		l, err := net.Listen("tcp", Loopback(port))
		if err != nil {
			last = err
			continue
		}
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("free port %d: %w", port, err)
		}
		return port, nil
	}
	return 0, errors.Join(errors.New("no free loopback port"), last)
}

// Loopback is 127.0.0.1 with the port.
func Loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// PortOf is the port of an address that Loopback made; 0 for others.
func PortOf(addr string) int {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}
