// Package rig starts the real binary as a child process, on free loopback
// ports and in a directory of its own, and ends it in the ways that drills and
// tests need: by SIGTERM, by SIGKILL, or as it likes.
//
// # What it promises
//
//   - A Node keeps its ports and directory over restarts; ports are taken
//     outside the range from which the kernel draws ports for outgoing
//     connections, so a restart does not find one of them taken.
//   - Start returns when /readyz answers 200 on the node's own HTTP port, or
//     with the end of the node's log in its error.
//   - Only the child that Start made is signalled, by its process ID.
//
// # What it never does
//
// It never looks into the data directory and never decides what is right: that
// is the oracle's.
//
// # Failures
//
// Start fails when the process ends before it is ready or is not ready before
// the context ends. Kill and Stop fail only when the child can't be signalled.
// A Node that the caller forgot keeps running: Close ends it.
package rig
