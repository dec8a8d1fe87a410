//go:build drill

package telemetry

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestAnArmedFailPointKillsAtItsPassage runs this test again as the process
// that is to die.
func TestAnArmedFailPointKillsAtItsPassage(t *testing.T) {
	if os.Getenv("POSTERN_FAILPOINT") != "" {
		FailPoint("edge.rcpt")
		FailPoint("edge.mail")
		os.Stdout.WriteString("1")
		FailPoint("edge.mail")
		os.Stdout.WriteString("2")
		return
	}
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	c.Env = append(os.Environ(), "POSTERN_FAILPOINT=edge.mail:2")
	out, err := c.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || string(out) != "1" {
		t.Errorf("process said %q and ended with %v", out, err)
	}
	c = exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	c.Env = append(os.Environ(), "POSTERN_FAILPOINT=no.such.point")
	if err := c.Run(); !errors.As(err, &exit) || exit.ExitCode() != 64 {
		t.Errorf("an unknown name: %v", err)
	}
}
