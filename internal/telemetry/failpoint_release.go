//go:build !drill

package telemetry

// DrillBuild reports whether this binary can be weakened and stopped by drills.
const DrillBuild = false

// FailPoint does nothing in a release build.
func FailPoint(string) {}

// Weakened is false in a release build, whatever the environment says.
func Weakened(Weakness) bool { return false }
