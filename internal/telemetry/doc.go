// Package telemetry holds what every room uses to be seen: slog keys, the log
// writer, the metrics registry, build information, the clock and the named
// fail points that drills use. It never decides anything about mail.
//
// It promises:
//
//   - Logging never waits. A line goes into a bounded buffer in memory; one
//     goroutine writes the buffer out at most 100 ms later, or sooner when it
//     is half full. A slow or blocked standard error costs lines, not mail:
//     lines that do not fit are dropped, counted, and the count is logged.
//   - A label of a metric made here has a closed set of values; any other
//     value is counted as "other". So no peer can make the registry grow.
//   - Wall time is read by WallClock and nowhere else.
//
// It never logs content, passwords or header values: callers do not pass them.
//
// Failures. A write to the log's output that fails loses its lines: they are
// counted like dropped ones (postern_log_dropped_total). A process that is
// killed loses up to 100 ms of lines; what must not be lost is in the spool.
// Two metrics of one name are a defect: the second counts but is not exported,
// and it is logged as an error.
package telemetry
