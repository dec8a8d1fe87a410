// Command bench measures Postern beside Postfix and beside the bare limit of
// the load tools (smtp-source straight into smtp-sink), interleaved in one
// run, so that the ratios hold on a machine whose speed drifts. It needs
// Debian's postfix package for postfix, smtp-source and smtp-sink, and root to
// run Postfix. All traffic stays on 127.0.0.1; every process it starts is
// ended by its id.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"
)

// options are what the command line asks for.
type options struct {
	postern  string        // the binary to measure
	sizes    []int         // octets of content
	sessions []int         // parallel smtp-source sessions
	runs     int           // counted runs of each cell
	target   time.Duration // aim of one timed run
	peers    []string      // sink, postfix, postern
	dir      string        // scratch on the disk to be measured
	csv      string        // every counted run, one line each; "" for none
	probes   int           // messages of the idle latency probe
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var o options
	var sizes, sessions, peers string
	flag.StringVar(&o.postern, "postern", "bin/postern", "binary to measure")
	flag.StringVar(&sizes, "sizes", "5000,50000", "octets of content, comma-separated")
	flag.StringVar(&sessions, "sessions", "20,100", "parallel sessions, comma-separated")
	flag.StringVar(&peers, "peers", "sink,postfix,postern", "what to measure")
	flag.IntVar(&o.runs, "runs", 5, "counted runs of each cell")
	flag.DurationVar(&o.target, "target", 1500*time.Millisecond, "aim of one timed run")
	flag.StringVar(&o.dir, "dir", "", "scratch directory on the disk to be measured (default: a new one under the working directory)")
	flag.StringVar(&o.csv, "csv", "", "file for every counted run")
	flag.IntVar(&o.probes, "probes", 100, "messages of the idle latency probe")
	flag.Parse()
	var err error
	if o.sizes, err = integers(sizes); err != nil {
		return err
	}
	if o.sessions, err = integers(sessions); err != nil {
		return err
	}
	o.peers = strings.Split(peers, ",")
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp(".", ".bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.dir)
	}
	// Postfix walks its queue directory as another user.
	if err := os.Chmod(o.dir, 0o755); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return measure(ctx, o)
}

func integers(s string) ([]int, error) {
	var out []int
	for _, part := range strings.Split(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q: want positive whole numbers", s)
		}
		out = append(out, n)
	}
	return out, nil
}
