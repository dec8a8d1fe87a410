package harness

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// builds are the binaries of this test process: the one piece of state that
// tests share, because a build takes seconds.
var builds struct {
	mu   sync.Mutex
	dir  string
	made map[string]string // build tags to file
}

// Main runs the tests and removes what was built. It returns the exit status.
func Main(m *testing.M) int {
	status := m.Run()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if builds.dir != "" {
		_ = os.RemoveAll(builds.dir) // a leftover in the temporary directory is no failure
	}
	return status
}

// Binary builds ./cmd/postern once and returns the file.
func Binary(t testing.TB) string { t.Helper(); return build(t, "") }

// DrillBinary is Binary with the tag drill: fail points and weakenings work.
func DrillBinary(t testing.TB) string { t.Helper(); return build(t, "drill") }

func build(t testing.TB, tags string) string {
	t.Helper()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if f := builds.made[tags]; f != "" {
		return f
	}
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "postern-test-")
		if err != nil {
			t.Fatal(err)
		}
		// Peers drop root and still execute what lies here.
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		builds.dir, builds.made = dir, map[string]string{}
	}
	file := filepath.Join(builds.dir, "postern"+tags)
	lookAtSources(t)
	cmd := exec.Command("go", "build", "-tags", tags, "-o", file, "github.com/postern-mail/postern/cmd/postern")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("go build -tags %q ./cmd/postern: %w\n%s", tags, err, out))
	}
	builds.made[tags] = file
	return file
}

// lookAtSources stats every Go file that the binary may be built from. The
// tests do not import them, so without it `go test` would repeat a cached
// result of an older binary.
func lookAtSources(t testing.TB) {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(fmt.Errorf("go env GOMOD: %w", err))
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, e fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				_, err = os.Stat(name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
