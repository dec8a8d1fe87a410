package durable_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/postern-mail/postern/internal/durable"
)

// TestMain is the other process of the lock tests when asked to be.
func TestMain(m *testing.M) {
	if name := os.Getenv("DURABLE_TEST_LOCK"); name != "" {
		if _, err := durable.OS().Lock(name); err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString("held\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent closes or kills
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestALockIsHeldAgainstOtherProcessesAndGoesWithThem(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "DURABLE_TEST_LOCK="+name)
	stdin, err := other.StdinPipe()
	must(t, err)
	defer stdin.Close()
	out, err := other.StdoutPipe()
	must(t, err)
	must(t, other.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("other process said %q, %v", line, err)
	}
	if _, err := durable.OS().Lock(name); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("while the other holds it: %v", err)
	}
	must(t, other.Process.Kill())
	_ = other.Wait()
	l, err := durable.OS().Lock(name)
	must(t, err)
	must(t, l.Close())
}
