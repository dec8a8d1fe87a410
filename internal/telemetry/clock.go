package telemetry

import "time"

// Clock is the one place where wall time is read. Intervals are taken with
// time.Since on values of Now, which carry the monotonic reading.
type Clock func() time.Time

// WallClock is the clock of a running node: UTC wall time with the monotonic
// reading kept.
func WallClock() time.Time { return time.Now().UTC() }
