//go:build drill

package telemetry

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// DrillBuild reports whether this binary can be weakened and stopped by drills.
const DrillBuild = true

// armed is read once from POSTERN_FAILPOINT: "name:N[,name:N...]". At its N-th
// passage (1 is the first) a point kills the process with SIGKILL, so that no
// deferred call and no buffered write survives.
var armed = parseArmed(os.Getenv("POSTERN_FAILPOINT"))

// weak is read once from POSTERN_WEAKEN, comma-separated weaknesses.
var weak = parseWeak(os.Getenv("POSTERN_WEAKEN"))

func parseArmed(s string) map[string]*atomic.Int64 {
	m := map[string]*atomic.Int64{}
	if s == "" {
		return m
	}
	known := map[string]bool{}
	for _, n := range FailPoints() {
		known[n] = true
	}
	for _, part := range strings.Split(s, ",") {
		name, count, _ := strings.Cut(part, ":")
		n, err := strconv.ParseInt(count, 10, 64)
		if count == "" {
			n, err = 1, nil
		}
		if err != nil || n < 1 || !known[name] {
			fmt.Fprintf(os.Stderr, "POSTERN_FAILPOINT: %q: want a listed name and a count from 1\n", part)
			os.Exit(64)
		}
		c := new(atomic.Int64)
		c.Store(n)
		m[name] = c
	}
	return m
}

func parseWeak(s string) map[Weakness]bool {
	m := map[Weakness]bool{}
	for _, w := range strings.Split(s, ",") {
		if w != "" {
			m[Weakness(w)] = true
		}
	}
	return m
}

// FailPoint kills the process when the named point was armed and its count
// has run down.
func FailPoint(name string) {
	c := armed[name]
	if c == nil || c.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}

// Weakened reports whether a control arm asked for w.
func Weakened(w Weakness) bool { return weak[w] }
