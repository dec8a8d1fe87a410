package telemetry

import (
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Version is set by the linker and never by code:
// -ldflags "-X github.com/postern-mail/postern/internal/telemetry.Version=1.2.3".
var Version string

// BuildInfo says what this program was built from. Fields that are not known
// are empty.
type BuildInfo struct {
	Version  string `json:"version"`  // "devel" when the linker was told nothing
	Revision string `json:"revision"` // of the source
	Time     string `json:"time"`     // of the revision, RFC 3339
	Modified bool   `json:"modified"` // the source differed from the revision
	Go       string `json:"go"`
	Drill    bool   `json:"drill"` // built to be weakened and stopped by drills
}

// Build returns what this program was built from.
func Build() BuildInfo {
	b := BuildInfo{Version: Version, Drill: DrillBuild}
	info, ok := debug.ReadBuildInfo()
	if ok {
		b.Go = info.GoVersion
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
		if v := info.Main.Version; b.Version == "" && v != "" && v != "(devel)" {
			b.Version = strings.TrimPrefix(v, "v")
		}
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

// String returns one line for people: version, revision, compiler.
func (b BuildInfo) String() string {
	s := "postern " + b.Version
	if b.Revision != "" {
		s += " (" + b.Revision[:min(12, len(b.Revision))]
		if b.Modified {
			s += ", modified"
		}
		s += ")"
	}
	if b.Go != "" {
		s += " " + b.Go
	}
	if b.Drill {
		s += " DRILL BUILD"
	}
	return s
}

func (b BuildInfo) metric() prometheus.Metric {
	d := prometheus.NewDesc("postern_build_info", "What this program was built from; always 1.", nil,
		prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go})
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, 1)
}
