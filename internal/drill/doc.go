// Package drill breaks the real binary on purpose and judges from outside.
//
// A drill starts `postern serve` as a child process on free loopback ports with
// a data directory of its own, drives it with generators and sinks that share
// no code with the gateway (sub-package oracle), breaks one thing, and compares
// what was acknowledged with what arrived. The gateway's own accounting is never
// the source of a verdict: `postern audit` is only compared with the oracle's
// counts afterwards.
//
// # What it promises
//
//   - Every random choice comes from a seed that is printed; Options.Seed
//     repeats a run as far as the kernel's scheduling allows.
//   - Only processes that the drill itself started are ended, by their ID.
//   - A drill has control arms: the same run with one protecting property
//     removed. Such a run must fail; one that passes proves nothing and says so
//     (ErrProvesNothing).
//   - What could not be tried here (no root, no strace, a release build) is
//     reported as skipped with the reason, never counted as held.
//
// # What it never does
//
// It never touches a node that it did not start, a directory that it did not
// make, or an address outside loopback.
//
// # Builds
//
// Fail points and weakened arms exist only in a binary built with the tag
// "drill" (package telemetry). A release build refuses Options.Control and
// reports the parts that need fail points as skipped.
//
// # Failures
//
//	ErrUnknown        returned: no drill of that name
//	ErrFailed         returned: something that must hold did not (exit status 1)
//	ErrProvesNothing  returned: a control arm passed (exit status 3)
//	ErrNeedsDrill     returned: a release build was asked for a control arm (exit status 64)
//	other             returned: the drill could not be run (a port, a directory, the binary)
package drill
