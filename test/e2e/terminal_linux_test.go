package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal starts postern on a terminal of its own and returns the other end.
func terminal(t *testing.T, args ...string) (screen *os.File, cmd *exec.Cmd) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	cmd = exec.Command(binary, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { stuck.Stop() })
	return screen, cmd
}

// seen reads the screen until it shows want, and returns all that was read.
func seen(t *testing.T, screen *os.File, want string) string {
	t.Helper()
	var all strings.Builder
	one := make([]byte, 256)
	for !strings.Contains(all.String(), want) {
		n, err := screen.Read(one)
		if err != nil {
			t.Fatalf("no %q on the screen: %q, %v", want, all.String(), err)
		}
		all.Write(one[:n])
	}
	return all.String()
}

func echoes(t *testing.T, screen *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(screen.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

func TestAPasswordIsTypedUnseen(t *testing.T) {
	screen, cmd := terminal(t, "password")
	all := seen(t, screen, "Password: ")
	if _, err := screen.WriteString("planted-secret\n"); err != nil {
		t.Fatal(err)
	}
	all += seen(t, screen, "Once more: ")
	if _, err := screen.WriteString("planted-secret\n"); err != nil {
		t.Fatal(err)
	}
	all += seen(t, screen, "$argon2id$")
	if err := cmd.Wait(); err != nil || strings.Contains(all, "planted") || !echoes(t, screen) {
		t.Errorf("%v; echo is back: %v; the screen shows %q", err, echoes(t, screen), all)
	}
}

func TestCtrlCAtThePasswordEndsItAndGivesTheTerminalBack(t *testing.T) {
	screen, cmd := terminal(t, "password")
	seen(t, screen, "Password: ")
	if echoes(t, screen) {
		t.Error("typing is seen")
	}
	if _, err := screen.WriteString("half\x03"); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 130 || !echoes(t, screen) {
		t.Errorf("exit status %d; echo is back: %v", got, echoes(t, screen))
	}
}
