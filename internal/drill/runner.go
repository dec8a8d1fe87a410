package drill

import (
	"context"
	cryptorand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/internal/telemetry"
)

// scenario is a drill: what it is and the parts that it is run in.
type scenario struct {
	Entry
	parts []part
}

// part is one run of the binary under one fault. A part with a weakness is a
// control arm and runs only under Options.Control.
type part struct {
	name     string
	what     string
	weakness telemetry.Weakness
	drill    bool   // needs fail points
	needs    string // "strace", "root" or ""
	run      func(ctx context.Context, s *stage) error
}

// scenarios lists the drills.
func scenarios() []scenario { return []scenario{custody(), abuse()} }

func pick(name string) ([]scenario, error) {
	all := scenarios()
	if name == "all" {
		return all, nil
	}
	for _, s := range all {
		if strings.EqualFold(s.Name, name) {
			return []scenario{s}, nil
		}
	}
	return nil, fmt.Errorf("%w: %q (postern drill list names them)", ErrUnknown, name)
}

// runner holds what all parts of one run share.
type runner struct {
	binary  string
	seed    uint64
	size    Size
	control bool
	only    []string
	drill   bool
	out     io.Writer
}

func newRunner(o Options) (*runner, error) {
	r := &runner{binary: o.Binary, seed: o.Seed, size: o.Size, control: o.Control, only: o.Only, out: o.Out}
	if r.out == nil {
		r.out = io.Discard
	}
	r.out = &lines{to: r.out}
	switch r.size {
	case "":
		r.size = Short
	case Short, Full:
	default:
		return nil, fmt.Errorf("size %q: want short or full", r.size)
	}
	if r.binary == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the running binary: %w", err)
		}
		r.binary = self
		r.drill = telemetry.DrillBuild
	} else {
		r.drill = isDrillBuild(r.binary)
	}
	if r.control && !r.drill {
		return nil, ErrNeedsDrill
	}
	for r.seed == 0 {
		var b [8]byte
		_, _ = cryptorand.Read(b[:]) // never fails since Go 1.24
		r.seed = binary.LittleEndian.Uint64(b[:]) >> 16
	}
	return r, nil
}

// runScenario runs the parts of s that o asks for, one after the other.
func (r *runner) runScenario(ctx context.Context, s scenario) (*Result, error) {
	res := &Result{Name: s.Name, Title: s.Title, Fault: s.Fault, Bar: s.Bar}
	arm := ""
	if r.control {
		arm = ", control arms: each must FAIL"
	}
	fmt.Fprintf(r.out, "%s %s (seed %d, size %s%s)\n", s.Name, s.Title, r.seed, r.size, arm)
	var picked []part
	for _, p := range s.parts {
		if (p.weakness != "") == r.control && (len(r.only) == 0 || slices.Contains(r.only, p.name)) {
			picked = append(picked, p)
		}
	}
	// A short run judges only correctness, so its parts, each with a node of its
	// own, may share the machine. A full one measures and runs them one by one.
	at := make(chan struct{}, 1)
	if r.size == Short {
		at = make(chan struct{}, partsAtOnce)
	}
	res.Parts = make([]*PartResult, len(picked))
	errs := make([]error, len(picked))
	var wg sync.WaitGroup
	for i, p := range picked {
		at <- struct{}{}
		wg.Go(func() {
			defer func() { <-at }()
			if res.Parts[i], errs[i] = r.runPart(ctx, s, p); errs[i] != nil {
				errs[i] = fmt.Errorf("%s %s: %w", s.Name, p.name, errs[i])
			}
		})
	}
	wg.Wait()
	return res, errors.Join(errs...)
}

// partsAtOnce bounds the parts of a short run that share the machine: chosen.
const partsAtOnce = 4

// lines lets parts that run at once write whole texts.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}

// runPart runs one part in a directory of its own, which stays on disk only
// when the part did not end as it should.
func (r *runner) runPart(ctx context.Context, s scenario, p part) (*PartResult, error) {
	pr := &PartResult{Name: p.name, What: p.what, Weakness: string(p.weakness)}
	if why := r.missing(p); why != "" {
		pr.Skipped = why
		fmt.Fprintf(r.out, "  %-14s skipped: %s\n", p.name, why)
		return pr, nil
	}
	dir, err := os.MkdirTemp("", "postern-drill-")
	if err != nil {
		return pr, fmt.Errorf("make a directory for the drill: %w", err)
	}
	st := &stage{runner: r, part: p, result: pr, dir: dir, rng: rand.New(rand.NewPCG(r.seed, hashName(s.Name+p.name)))}
	begin := time.Now()
	err = p.run(ctx, st)
	pr.Took = time.Since(begin)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		pr.Findings = append(pr.Findings, "could not be run: "+err.Error())
	}
	if pr.asItShould() {
		_ = os.RemoveAll(dir) // a leftover in the temporary directory is no verdict
	} else {
		pr.Kept = dir
	}
	fmt.Fprint(r.out, pr.text())
	return pr, err
}

func (r *runner) missing(p part) string {
	switch {
	case p.drill && !r.drill:
		return "needs a binary built with -tags drill (make drill-build)"
	case strings.Contains(p.needs, "root") && os.Geteuid() != 0:
		return "needs root (it mounts a tmpfs)"
	case strings.Contains(p.needs, "strace") && !haveStrace():
		return "needs strace"
	}
	return ""
}

func hashName(s string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
