package rig

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Footprint is what a process holds.
type Footprint struct {
	Anonymous   int64 // octets of anonymous memory (RssAnon)
	Descriptors int
	Threads     int
}

// Footprint reads /proc of the running node.
func (n *Node) Footprint() (Footprint, error) {
	var f Footprint
	dir := "/proc/" + strconv.Itoa(n.PID())
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return f, fmt.Errorf("footprint: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		v, _ := strconv.ParseInt(fields[0], 10, 64)
		switch name {
		case "RssAnon":
			f.Anonymous = v << 10
		case "Threads":
			f.Threads = int(v)
		}
	}
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return f, fmt.Errorf("footprint: %w", err)
	}
	f.Descriptors = len(fds)
	return f, nil
}
