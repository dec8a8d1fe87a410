package drill

import (
	"debug/buildinfo"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
)

// stage is what one part works on: its directory, its randomness, and the
// sheet on which it writes what it found.
type stage struct {
	*runner
	part   part
	result *PartResult
	dir    string
	rng    *rand.Rand
}

// fact notes a number or a word that the report shows.
func (s *stage) fact(name string, format string, args ...any) {
	s.result.Facts = append(s.result.Facts, Fact{Name: name, Value: fmt.Sprintf(format, args...)})
}

// finding notes something that must not be. One finding fails the part.
func (s *stage) finding(format string, args ...any) {
	s.result.Findings = append(s.result.Findings, fmt.Sprintf(format, args...))
}

// say tells people what is going on.
func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "    "+format+"\n", args...)
}

// pick is short in a short run and full in a full one.
func (s *stage) pick(short, full int) int {
	if s.size == Full {
		return full
	}
	return short
}

// env is the environment of the node under test: the weakness of a control arm.
func (s *stage) env(more ...string) []string {
	if s.part.weakness != "" {
		more = append(more, "POSTERN_WEAKEN="+string(s.part.weakness))
	}
	return more
}

// isDrillBuild reads the build settings that the linker left in the binary.
func isDrillBuild(binary string) bool {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return false
	}
	for _, kv := range info.Settings {
		if kv.Key == "-tags" {
			for _, t := range strings.Split(kv.Value, ",") {
				if t == "drill" {
					return true
				}
			}
		}
	}
	return false
}

func haveStrace() bool {
	_, err := exec.LookPath("strace")
	return err == nil
}
