package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// probeAll sends one message at a time through each server at rest and times
// it from the first SYN to the moment the sink's counter moves.
func probeAll(ctx context.Context, o options, peers []*peer) error {
	fmt.Printf("\nidle, one message at a time (%d of each, in turn)\n%-9s %14s %14s %14s %14s\n", o.probes, "", "250 p50 ms", "250 p99 ms", "at sink p50 ms", "at sink p99 ms")
	taken := map[string][]time.Duration{}
	arrived := map[string][]time.Duration{}
	for range o.probes {
		for _, p := range peers {
			a, b, err := probe(ctx, p)
			if err != nil {
				return err
			}
			taken[p.name], arrived[p.name] = append(taken[p.name], a), append(arrived[p.name], b)
		}
	}
	for _, p := range peers {
		ms := func(v []time.Duration, q float64) float64 {
			slices.Sort(v)
			return float64(v[int(q*float64(len(v)-1))]) / 1e6
		}
		t, a := taken[p.name], arrived[p.name]
		fmt.Printf("%-9s %14.2f %14.2f %14.2f %14.2f\n", p.name, ms(t, .5), ms(t, .99), ms(a, .5), ms(a, .99))
	}
	return nil
}

// probe sends one message of 5,000 octets and returns the time to its 250 and
// to its arrival. The sink's counter is polled every 50 microseconds, which is
// the error of the second figure.
func probe(ctx context.Context, p *peer) (taken, arrived time.Duration, err error) {
	before, start := p.sink.count(), time.Now()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", p.port), 5*time.Second)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(start.Add(30 * time.Second)); err != nil {
		return 0, 0, err
	}
	r := textproto.NewReader(bufio.NewReader(c))
	if _, _, err := r.ReadResponse(220); err != nil {
		return 0, 0, err
	}
	body := "Subject: probe\r\n\r\n" + strings.Repeat(strings.Repeat("X", 78)+"\r\n", 62) + ".\r\n"
	for _, say := range []struct {
		text string
		code int
	}{
		{"EHLO probe.test\r\n", 250},
		{"MAIL FROM:<sender@src.test>\r\n", 250},
		{"RCPT TO:<user@sink.test>\r\n", 250},
		{"DATA\r\n", 354},
		{body, 250},
	} {
		if _, err := c.Write([]byte(say.text)); err != nil {
			return 0, 0, err
		}
		if _, _, err := r.ReadResponse(say.code); err != nil {
			return 0, 0, fmt.Errorf("%s: after %.20q: %w", p.name, say.text, err)
		}
	}
	taken = time.Since(start)
	for p.sink.count() <= before {
		if ctx.Err() != nil || time.Since(start) > 20*time.Second {
			return 0, 0, fmt.Errorf("%s: the probe never arrived", p.name)
		}
		time.Sleep(50 * time.Microsecond)
	}
	arrived = time.Since(start)
	_, _ = c.Write([]byte("QUIT\r\n"))
	return taken, arrived, nil
}
