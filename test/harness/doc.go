// Package harness is what tests with the real binary share: it builds postern
// once for a test process, starts nodes that end with their test, and writes
// the tenants file of a test.
//
// A test package that uses Binary or DrillBinary must end through Main:
//
//	func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
//
// Generators and sinks are those of internal/drill/oracle, processes those of
// internal/drill/rig.
//
// # Failures
//
// Everything that can't be done ends the test with Fatal. A failed test prints
// the end of its node's log.
package harness
