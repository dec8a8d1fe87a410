package drill

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/drill/oracle"
)

// traced are the calls that can make octets durable or put them on the wire.
const traced = "trace=openat,fdatasync,fsync,sync_file_range,pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg,msync"

// syncBeforeReply runs transactions under strace and proves the order of sync
// and 250 for each.
func syncBeforeReply(ctx context.Context, s *stage) error {
	output := filepath.Join(s.dir, "strace")
	w, err := newWorld(s, worldConfig{
		yaml: quickRetry,
		wrap: []string{"strace", "-D", "-f", "-yy", "-s", "400000", "-o", output, "-e", traced, "-e", "signal=none", "--"},
	})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.node.Start(ctx); err != nil {
		return err
	}
	sample := s.pick(300, 3000)
	load := &oracle.Load{Addr: w.node.SMTP, Sessions: 8, PerSecond: 150, Seed: s.seed, Make: w.mixed(50), Log: &w.log}
	stop := inBackground(ctx, load)
	for w.log.Count(oracle.Acked) < sample && w.node.Running() {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			break
		}
	}
	stop()
	if err := w.settle(ctx, 20*time.Second); err != nil {
		return err
	}
	stopping, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := w.node.Stop(stopping); err != nil {
		s.finding("%v", err)
	}
	f, err := os.Open(output)
	if err != nil {
		return fmt.Errorf("strace's output: %w", err)
	}
	defer f.Close()
	t, err := readTrace(f)
	if err != nil {
		return err
	}
	w.judge()
	w.proveOrder(t)
	return nil
}

var drillID = regexp.MustCompile(`d[0-9a-f]+-[0-9]+`)

// proveOrder looks for each acknowledged message for the writes that hold it,
// a sync that covers each, and the reply.
func (w *world) proveOrder(t *trace) {
	writes := map[string][]*call{} // by ID
	var syncs, replies []*call
	for _, c := range t.calls {
		switch {
		case strings.HasPrefix(c.file, w.node.Data):
			if strings.HasPrefix(c.name, "fdatasync") || c.name == "fsync" {
				syncs = append(syncs, c)
				continue
			}
			if base := filepath.Base(c.file); strings.HasPrefix(base, "event-") || strings.HasPrefix(base, "checkpoint") {
				continue // derived from the log, so they make nothing durable
			}
			for _, id := range unique(drillID.FindAllString(c.args, -1)) {
				writes[id] = append(writes[id], c)
			}
		case strings.HasPrefix(c.file, "TCP"):
			replies = append(replies, c)
		}
	}
	proved := 0
	for _, s := range w.log.All() {
		if s.Outcome != oracle.Acked {
			continue
		}
		if why := orderOf(s, writes[s.ID], syncs, replies, t.dsync); why != "" {
			w.finding("%s: %s", s.ID, why)
			continue
		}
		proved++
	}
	w.fact("transactions in right order", "%d of %d", proved, w.log.Count(oracle.Acked))
	w.fact("syncs", "%d", len(syncs))
	if proved == 0 && w.part.weakness == "" {
		w.finding("not one transaction could be followed through strace's output")
	}
}

// orderOf says what is wrong with the order of one transaction, "" when it is
// right.
func orderOf(s oracle.Sent, writes, syncs, replies []*call, dsync map[string]bool) string {
	var reply *call
	quoted := `"` + s.Reply.Text
	for _, r := range replies {
		if strings.Contains(r.args, quoted) || strings.Contains(r.args, `\n`+s.Reply.Text) {
			reply = r
			break
		}
	}
	if reply == nil {
		return fmt.Sprintf("its reply %q is not in strace's output", s.Reply.Text)
	}
	covered := false
	for _, wr := range writes {
		if wr.begin > reply.begin {
			continue // a copy made later
		}
		if wr.end == 0 || wr.end > reply.begin {
			return fmt.Sprintf("the write to %s returned after 250 was said", filepath.Base(wr.file))
		}
		if !dsync[wr.file] && !syncedBetween(syncs, wr, reply) {
			return fmt.Sprintf("no sync of %s returned between its write and 250", filepath.Base(wr.file))
		}
		covered = true
	}
	if !covered {
		return "250 was said before it was written anywhere"
	}
	return ""
}

func syncedBetween(syncs []*call, write, reply *call) bool {
	for _, s := range syncs {
		if s.file == write.file && s.ok && s.begin > write.end && s.end < reply.begin {
			return true
		}
	}
	return false
}

func unique(all []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, a := range all {
		if !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	return out
}
