package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cell is one combination of size, sessions and connection reuse.
type cell struct {
	size, sessions int
	reuse          bool
}

func (c cell) String() string {
	s := fmt.Sprintf("%d octets, %d sessions", c.size, c.sessions)
	if c.reuse {
		s += ", reused connections"
	}
	return s
}

// result is one counted run.
type result struct {
	messages          int
	accepted, relayed float64 // per second; relayed counts from the first connection to the last arrival
	cpu               float64 // seconds of the server per 1,000 messages
	anonymous         int64   // octets, when the last message has arrived
	syncs             map[string]float64
}

func measure(ctx context.Context, o options) error {
	var peers []*peer
	for _, name := range o.peers {
		p, err := startPeer(ctx, name, o)
		if err != nil {
			return err
		}
		defer p.stop()
		peers = append(peers, p)
	}
	header(o)
	for _, size := range o.sizes {
		for _, sessions := range o.sessions {
			if err := measureCell(ctx, o, peers, cell{size, sessions, false}); err != nil {
				return err
			}
		}
	}
	if err := measureCell(ctx, o, peers, cell{o.sizes[0], o.sessions[0], true}); err != nil {
		return err
	}
	if err := measureCell(ctx, o, peers, cell{o.sizes[0], 32, true}); err != nil {
		return err
	}
	return probeAll(ctx, o, peers)
}

func header(o options) {
	var un bytes.Buffer
	cmd := exec.Command("uname", "-srm")
	cmd.Stdout = &un
	_ = cmd.Run()
	fmt.Printf("%s, %s; medians of %d interleaved runs of about %v each; load, servers and sinks share the machine\n",
		time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(un.String()), o.runs, o.target)
}

// measureCell runs every peer in turn, o.runs times, and prints medians and
// the ratios to Postfix pair by pair.
func measureCell(ctx context.Context, o options, peers []*peer, c cell) error {
	counts := map[string]int{}
	for _, p := range peers {
		r, err := once(ctx, p, c, 200) // warms up and calibrates
		if err != nil {
			return err
		}
		rate := r.accepted
		if p.root != 0 {
			rate = r.relayed
		}
		counts[p.name] = min(20000, max(300, int(rate*o.target.Seconds())/100*100))
	}
	runs := map[string][]result{}
	for range o.runs {
		for _, p := range peers {
			r, err := once(ctx, p, c, counts[p.name])
			if err != nil {
				return err
			}
			runs[p.name] = append(runs[p.name], r)
			if err := writeCSV(o.csv, p, c, r); err != nil {
				return err
			}
		}
	}
	report(c, peers, runs)
	return nil
}

// once sends n messages and waits until the sink has them all.
func once(ctx context.Context, p *peer, c cell, n int) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, 120*time.Second)
	defer cancel()
	before, cpu0, sync0 := p.sink.count(), cpu(p.root), scrape(p.metrics)
	args := []string{
		"-M", "probe.test", "-s", strconv.Itoa(c.sessions), "-l", strconv.Itoa(c.size), "-m", strconv.Itoa(n),
		"-f", "sender@src.test", "-t", "user@sink.test",
	}
	if c.reuse {
		args = append(args, "-d")
	}
	cmd := exec.CommandContext(ctx, "smtp-source", append(args, fmt.Sprintf("inet:127.0.0.1:%d", p.port))...)
	var words bytes.Buffer
	cmd.Stderr = &words
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	r := result{messages: n}
	for look := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case err := <-done:
			if err != nil {
				return r, fmt.Errorf("%s, %v: smtp-source: %w: %s", p.name, c, err, words.Bytes())
			}
			done, r.accepted = nil, float64(n)/time.Since(start).Seconds()
		case <-look.C:
			if done == nil && p.sink.count()-before >= n {
				r.relayed = float64(n) / time.Since(start).Seconds()
				look.Stop()
				r.anonymous = anonymous(p.root)
				r.cpu = (cpu(p.root) - cpu0).Seconds() / float64(n) * 1000
				r.syncs = difference(sync0, scrape(p.metrics))
				return r, nil
			}
		case <-ctx.Done():
			return r, fmt.Errorf("%s, %v: %d of %d messages arrived: %w", p.name, c, p.sink.count()-before, n, ctx.Err())
		}
	}
}

// difference keeps the counters of syncs that moved.
func difference(before, after map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for k, v := range after {
		if d := v - before[k]; d > 0 && strings.Contains(k, "sync") && strings.Contains(k, "_total") {
			out[k] = d
		}
	}
	return out
}

func median(rs []result, f func(result) float64) float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, f(r))
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func report(c cell, peers []*peer, runs map[string][]result) {
	fmt.Printf("\n%v\n%-9s %10s %10s %12s %10s   %s\n", c, "", "accepted/s", "relayed/s", "CPU s/1,000", "anon MiB", "beside Postfix: median (min-max) of pairs")
	for _, p := range peers {
		rs := runs[p.name]
		fmt.Printf("%-9s %10.0f %10.0f %12.3f %10.1f", p.name,
			median(rs, func(r result) float64 { return r.accepted }), median(rs, func(r result) float64 { return r.relayed }),
			median(rs, func(r result) float64 { return r.cpu }), median(rs, func(r result) float64 { return float64(r.anonymous) / (1 << 20) }))
		if base := runs["postfix"]; p.name != "postfix" && len(base) == len(rs) {
			fmt.Printf("   accepted %s  relayed %s", pairs(rs, base, func(r result) float64 { return r.accepted }),
				pairs(rs, base, func(r result) float64 { return r.relayed }))
		}
		fmt.Println()
		printSyncs(rs)
	}
}

// pairs gives the ratio of run i to run i of the other, as "4.5x (4.1-4.9)".
func pairs(rs, base []result, f func(result) float64) string {
	var v []float64
	for i := range rs {
		v = append(v, f(rs[i])/f(base[i]))
	}
	slices.Sort(v)
	return fmt.Sprintf("%.2fx (%.2f-%.2f)", (v[(len(v)-1)/2]+v[len(v)/2])/2, v[0], v[len(v)-1])
}

func printSyncs(rs []result) {
	sum, messages := map[string]float64{}, 0
	for _, r := range rs {
		messages += r.messages
		for k, v := range r.syncs {
			sum[k] += v
		}
	}
	var keys []string
	for k := range sum {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Printf("          %s: %.3f a message\n", k, sum[k]/float64(messages))
	}
}

func writeCSV(name string, p *peer, c cell, r result) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s,%d,%d,%t,%d,%.1f,%.1f,%.4f,%d\n", p.name, c.size, c.sessions, c.reuse, r.messages, r.accepted, r.relayed, r.cpu, r.anonymous)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
