// Package telemetry holds what every room uses to be seen: slog keys, the
// metrics registry, build information, the clock and the named fail points
// that drills use. It never decides anything about mail.
package telemetry
