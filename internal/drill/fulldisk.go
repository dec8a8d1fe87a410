package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postern-mail/postern/internal/drill/oracle"
)

// fullDisk fills a small file system with mail that can't leave, then with a
// foreign file to the last octet, lets the mail leave, and gives the room back.
func fullDisk(ctx context.Context, s *stage) error {
	data := filepath.Join(s.dir, "tmpfs")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=64m,mode=0700"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	defer func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) }()
	var open atomic.Bool
	w, err := newWorld(s, worldConfig{yaml: smallDisk, data: data, sink: oracle.SinkConfig{Rcpt: func(string, int) string {
		if open.Load() {
			return ""
		}
		return "451 4.3.0 closed for now"
	}}})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.node.Start(ctx); err != nil {
		return err
	}
	stop := inBackground(ctx, &oracle.Load{Addr: w.node.SMTP, Sessions: 8, Seed: s.seed, Make: w.mixed(10), Log: &w.log})
	defer stop()
	if !w.until(ctx, 20*time.Second, func() bool { return w.log.Count(oracle.Refused) >= 20 }) {
		s.finding("a disk of 64 MiB was never full: %d messages were taken", w.log.Count(oracle.Acked))
	}
	stop()
	w.beforeData(ctx)
	filler, err := fill(filepath.Join(data, "filler"))
	s.fact("foreign file", "%d octets more, then %v", filler, err)
	taken := w.log.Count(oracle.Acked)
	open.Store(true)
	if err := w.settle(ctx, 30*time.Second); err != nil {
		return err
	}
	s.fact("taken before it was full", "%d messages, all passed on while 0 octets were free", taken)
	if err := os.Remove(filepath.Join(data, "filler")); err != nil {
		return err
	}
	begin := time.Now()
	stop = inBackground(ctx, &oracle.Load{Addr: w.node.SMTP, Sessions: 2, PerSecond: 50, Seed: s.seed + 1, Make: w.mixed(0), Log: &w.log})
	back := w.until(ctx, 5*time.Second, func() bool { return w.log.Count(oracle.Acked) > taken })
	stop()
	if !back {
		s.finding("5 s after room returned the node still takes no mail")
	} else {
		s.fact("takes mail again after", "%d ms", time.Since(begin).Milliseconds())
	}
	if err := w.settle(ctx, 20*time.Second); err != nil {
		return err
	}
	w.softRefusals()
	w.panics()
	_, err = w.audit(ctx)
	return err
}

// until waits for a fact at most d.
func (w *world) until(ctx context.Context, d time.Duration, fact func() bool) bool {
	deadline := time.Now().Add(d)
	for !fact() {
		if time.Now().After(deadline) || pause(ctx, 10*time.Millisecond) != nil {
			return false
		}
	}
	return true
}

// beforeData holds that a client hears 452 before it sends content, as soon as
// the node had the time to look at its disk.
func (w *world) beforeData(ctx context.Context) {
	said, line := "", ""
	knows := w.until(ctx, 5*time.Second, func() bool {
		said, line = w.askForRoom(ctx)
		return strings.HasPrefix(said, "452")
	})
	if !knows {
		w.finding("on a full disk %q is answered %q", line, said)
		return
	}
	w.fact("full disk answers", "%s to %s", said, line)
}

// askForRoom runs a transaction up to the point where content is asked for, and
// returns the refusal or the 354.
func (w *world) askForRoom(ctx context.Context) (said, line string) {
	c, err := oracle.Dial(ctx, w.node.SMTP)
	if err != nil {
		return err.Error(), "connect"
	}
	defer c.Close()
	for _, line = range []string{"MAIL FROM:<" + sender + "> SIZE=30000", "RCPT TO:<probe@" + goodDomain + ">", "DATA"} {
		r, err := c.Command("%s", line)
		if err != nil {
			return err.Error(), line
		}
		said = r.Text
		if r.Code >= 400 {
			break
		}
	}
	return said, line
}

// fill writes until the disk has no octet left.
func fill(name string) (int64, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf, total := make([]byte, 64<<10), int64(0)
	for {
		n, err := f.Write(buf)
		total += int64(n)
		if errors.Is(err, syscall.ENOSPC) && len(buf) > 4096 {
			buf = buf[:4096]
			continue
		}
		if err != nil {
			return total, err
		}
	}
}
