package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// flushInterval is the longest that a line stays in memory. Chosen: short
// enough to watch a log, long enough to put hundreds of lines into one write.
const flushInterval = 100 * time.Millisecond

// errClosed is returned by a second Close.
var errClosed = errors.New("log is closed")

// logWriter takes whole lines and never waits. Its two buffers, the one that
// fills and the one that is written out, are each at most max octets.
type logWriter struct {
	out     io.Writer
	max     int
	dropped atomic.Uint64 // lines
	inUse   atomic.Int64  // octets waiting

	mu     sync.Mutex
	fill   []byte
	lines  uint64 // in fill
	closed bool

	first, half chan struct{} // capacity 1: a signal, not a queue
	stop        chan struct{}
	done        chan struct{}
}

func newLogWriter(out io.Writer, max int) *logWriter {
	w := &logWriter{
		out:   out,
		max:   max,
		first: make(chan struct{}, 1),
		half:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	return w
}

// Write takes one line, or drops and counts it. It returns len(line), nil in
// any case: there is nobody who could do something about it.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	before := len(w.fill)
	after := before + len(line)
	if after > w.max || w.closed {
		w.mu.Unlock()
		w.dropped.Add(1)
		return len(line), nil
	}
	w.fill = append(w.fill, line...)
	w.lines++
	w.inUse.Store(int64(after))
	w.mu.Unlock()
	if before == 0 {
		signal(w.first)
	}
	if after > w.max/2 && before <= w.max/2 {
		signal(w.half)
	}
	return len(line), nil
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run writes the buffer out until stop, and then once more. told is called
// after each write that went well with the number of lines dropped so far: a
// line about lost lines that is itself lost would go on for ever.
func (w *logWriter) run(told func(dropped uint64)) {
	defer close(w.done)
	var spare []byte
	for {
		select {
		case <-w.first:
			w.linger()
		case <-w.stop:
			_, _ = w.flush(spare)
			return
		}
		var ok bool
		if spare, ok = w.flush(spare); ok {
			told(w.dropped.Load())
		}
	}
}

// linger waits for company after a first line.
func (w *logWriter) linger() {
	t := time.NewTimer(flushInterval)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.half:
	case <-w.stop:
	}
}

// flush writes what is there and returns the buffer for the turn after next,
// and whether the output took it.
func (w *logWriter) flush(spare []byte) ([]byte, bool) {
	w.mu.Lock()
	out, lines := w.fill, w.lines
	w.fill, w.lines = spare[:0], 0
	w.inUse.Store(0)
	w.mu.Unlock()
	if len(out) == 0 {
		return out, true
	}
	err := w.put(out)
	if err != nil {
		w.dropped.Add(lines) // at most: some may have been written
	}
	return out, err == nil
}

// put turns a panic of the output into lost lines: the log must go on.
func (w *logWriter) put(out []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("log output: %v", p)
		}
	}()
	_, err = w.out.Write(out)
	return err
}

// close writes out what is there and ends run. When the output blocks longer
// than ctx, the rest is given up: run ends when the output lets it go.
func (w *logWriter) close(ctx context.Context) error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return errClosed
	}
	close(w.stop)
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write out the log: %w", ctx.Err())
	}
}
