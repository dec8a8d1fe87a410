// Package gateway is the composition root: it builds a node from its
// configuration, left to right, runs it, and takes it down door first. It has
// no mail logic of its own.
//
// # The order
//
//	built                          taken down, in the opposite order
//	 1 log and metrics              last: the log is written out
//	 2 data directory and its lock  the lock is given back
//	 3 spool                        closed: everything queued is synced
//	 4 certificate, demo            the sample server ends
//	 5 tenants                      -
//	 6 control socket, HTTP         answer until the queue is drained
//	 7 relay, bounce, queue         attempts under way may end
//	 8 door and SMTP listeners      first: 421 to idle sessions, transactions may end
//
// Listeners are bound before anything is started, so that a port that is taken
// is an error and not a half-started node. A node is ready (/readyz) when the
// spool is open, has room, and every listener accepts.
//
// # Stopping
//
// SIGTERM, SIGINT, the control socket's stop and the end of Serve's context mean
// the same: doors close, transactions and attempts under way may end within
// Config.Limits.Deadlines.Drain, then they are cut, then the spool is closed. A
// second SIGTERM or SIGINT ends the process at once, which is safe: what was
// acknowledged is on the disk. SIGHUP is a reload.
//
// # Reload
//
// tenants.yaml and the certificate are read again. What does not compile is
// refused with its lines and columns, and what was in force stays. Everything
// else of the node's file needs a restart.
//
// # The Go runtime
//
// GOGC and GOMEMLIMIT are left alone: at 50 sessions of 5 KB mail the collector
// took 1-2 % of the CPU with 45 MB of anonymous memory; GOGC=400 gave nothing
// that could be told from noise and took 76 MB. /debug/pprof/ stands beside
// /metrics.
//
// # Failures
//
//	returned by Serve   anything that cannot be built; a listener that broke
//	logged              what recovery found; reloads; trouble while stopping
package gateway
