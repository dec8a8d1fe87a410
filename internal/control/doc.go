// Package control is the Unix socket between the processes of a node, and
// between the node and its command line: server, client, and the words that
// are said (api.go).
//
// # What is on the wire
//
// HTTP/1.1 over <data>/control.sock. Every call is POST /v1/<call> with a JSON
// object; a reply is one JSON object, or, for a stream, JSON lines:
//
//	{"item":{...}}                     any number
//	{"end":{"items":12}}               last line when all went well
//	{"error":{"code":..,"message":..}} last line when it did not
//
// A stream without its last line was cut, and the client says so. Errors of
// plain calls are {"error":{...}} with an HTTP status of 4xx or 5xx. The call
// "hello" says who answers and which protocol is spoken.
//
// # Promises
//
//   - The socket has mode 0600 from its first moment (the mode is set before
//     bind), and each connection's peer credentials (SO_PEERCRED) must be the
//     node's own user or root; others are closed unheard and counted.
//   - Connections, requests at once, request octets and the time of each call
//     are bounded.
//   - A socket that someone answers on is never removed. A lock file beside it
//     (control.lock) keeps two starting nodes apart.
//   - Directories whose socket path is longer than the 107 octets that the
//     kernel takes work: the socket is then reached through
//     /proc/self/fd/<directory>, without changing the working directory.
//
// # Never
//
// It never listens on a network, never knows what a call means, and never
// gives out content unless a handler does.
//
// # Failures
//
//	Listen   ErrRunning when a node holds the directory; other errors name the
//	         path and what to do
//	Serve    nil after Shutdown; a handler's panic ends that request only,
//	         is logged and answered as "internal"
//	Dial     ErrNoNode with the words to show; a version of protocol that does
//	         not fit is named with both builds
package control
