package custody_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/auditor"
	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/spool"
)

// world is one data directory through several lives of its spool, and what the
// test itself knows of the mail in it.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	disk *faultfs.Mem
	sp   *spool.Spool
	mail map[envelope.ID]*mail

	machine string // another one adopts what the one before left
	inline  bool   // no content is long enough for a draft file
}

// mail is a message for which Commit returned nil. seen holds every state that
// a recipient was ever put in: after a power cut any of them may stand.
type mail struct {
	tenant string
	now    []envelope.State
	seen   []map[envelope.State]bool
}

// live reports whether m cannot have ended, whatever was lost.
func (m *mail) live() bool {
	return slices.ContainsFunc(m.now, func(s envelope.State) bool { return !s.Terminal() })
}

func (m *mail) put(recipient int, s envelope.State) {
	m.now[recipient] = s
	m.seen[recipient][s] = true
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	return &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), disk: faultfs.NewMem(), mail: map[envelope.ID]*mail{}, machine: "first"}
}

func (w *world) open() *spool.Recovery {
	w.t.Helper()
	rec, err := w.tryOpen()
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	return rec
}

func (w *world) tryOpen() (*spool.Recovery, error) {
	sp, rec, err := spool.Open(w.t.Context(), spool.Config{
		FS: w.disk, Dir: "/data/spool", Identity: spool.NodeIdentity{Machine: w.machine, Inode: 7},
		SegmentOctets: 128 << 10, InlineMax: 8 << 10, MinFreeOctets: -1, MinFreeInodes: -1, BallastOctets: 4096,
		FinishSyncDelay: time.Millisecond, CheckpointEvery: 15 * time.Millisecond, EventSyncEvery: 3 * time.Millisecond,
		CopyForwardAfter: time.Millisecond, CopyForwardAtMost: 50 * time.Millisecond, WipeAfter: 20 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	})
	w.sp = sp
	return rec, err
}

func (w *world) close() {
	w.t.Helper()
	if err := w.sp.Close(context.Background()); err != nil {
		w.t.Fatalf("close: %v", err)
	}
	w.sp = nil
}

// accept commits one content for one or two tenants.
func (w *world) accept() error {
	size := w.rng.IntN(6 << 10)
	if w.rng.IntN(8) == 0 && !w.inline {
		size = 9<<10 + w.rng.IntN(20<<10)
	}
	d, err := w.draft(bytes.Repeat([]byte("content\r\n"), size/9+1))
	if err != nil {
		return err
	}
	var envs []*envelope.Envelope
	for i := range 1 + w.rng.IntN(2) {
		envs = append(envs, w.envelope(fmt.Sprintf("tenant-%d", i+w.rng.IntN(2)), envelope.Inbound, d.Size()))
	}
	if err := w.sp.Commit(w.t.Context(), d, envs, nil); err != nil {
		return err
	}
	for _, e := range envs {
		w.know(e)
	}
	return nil
}

func (w *world) draft(content []byte) (*spool.Draft, error) {
	d, err := w.sp.NewDraft(w.t.Context())
	if err != nil {
		return nil, err
	}
	if _, err := d.Write(content); err != nil {
		d.Abort()
		return nil, err
	}
	return d, nil
}

func (w *world) envelope(tenant string, kind envelope.Kind, size int64) *envelope.Envelope {
	e := &envelope.Envelope{
		ID: w.sp.NextID(), Tenant: tenant, Kind: kind, Size: size, Hops: 1,
		Arrival: envelope.Arrival{Time: time.Now().UTC(), Client: netip.MustParseAddrPort("[2001:db8::1]:25"), Listener: "smtp", Hello: "client.example", Protocol: "ESMTP"},
		Reverse: smtp.Path{Local: "alice", Domain: "sender.example"},
	}
	for i := range 1 + w.rng.IntN(3) {
		e.Forward = append(e.Forward, envelope.Recipient{Path: smtp.Path{Local: fmt.Sprintf("user%d", i), Domain: "example.test"}})
	}
	return e
}

func (w *world) know(e *envelope.Envelope) {
	m := &mail{tenant: e.Tenant, now: make([]envelope.State, len(e.Forward))}
	for i := range e.Forward {
		m.seen = append(m.seen, map[envelope.State]bool{})
		m.put(i, envelope.Queued)
	}
	w.mail[e.ID] = m
}

// pick returns a live recipient at random.
func (w *world) pick() (envelope.ID, int, bool) {
	ids := slices.SortedFunc(maps.Keys(w.mail), func(a, b envelope.ID) int { return bytes.Compare(a[:], b[:]) })
	w.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids {
		for i, s := range w.mail[id].now {
			if !s.Terminal() {
				return id, i, true
			}
		}
	}
	return envelope.ID{}, 0, false
}

// change moves or ends a recipient. When it fails, either state may stand.
func (w *world) change() error {
	id, i, ok := w.pick()
	if !ok {
		return nil
	}
	to := []envelope.State{
		envelope.Queued, envelope.Held, envelope.Delivered, envelope.Delivered, envelope.Delivered,
		envelope.DSNSuppressed, envelope.Discarded, envelope.Deleted,
	}[w.rng.IntN(8)]
	c := envelope.Change{ID: id, Recipient: i, To: to, Cause: cause.ConnectTimeout}
	if to == envelope.Queued {
		c.NextAttempt = time.Now().Add(time.Hour).UTC()
		c.Attempt = &envelope.Attempt{
			Time: time.Now().UTC(), Duration: time.Second, NextHop: "mx:example.test", Cause: cause.PeerRcpt4xx,
			Reply: smtp.Reply{Code: 451, Text: []string{"later", "please"}},
		}
	}
	w.mail[id].put(i, to)
	return w.sp.Apply(w.t.Context(), []envelope.Change{c})
}

// bounce commits a DSN together with its parent's end.
func (w *world) bounce() error {
	id, i, ok := w.pick()
	if !ok {
		return nil
	}
	d, err := w.draft([]byte("Subject: undelivered\r\n\r\n"))
	if err != nil {
		return err
	}
	e := w.envelope(w.mail[id].tenant, envelope.Report, d.Size())
	e.Parent, e.Reverse = id, smtp.Path{}
	w.mail[id].put(i, envelope.Bounced)
	if err := w.sp.Commit(w.t.Context(), d, []*envelope.Envelope{e}, []envelope.Change{{ID: id, Recipient: i, To: envelope.Bounced, Report: e.ID}}); err != nil {
		return err
	}
	w.know(e)
	return nil
}

func (w *world) step() error {
	switch n := w.rng.IntN(10); {
	case n < 4:
		return w.accept()
	case n < 9:
		return w.change()
	}
	return w.bounce()
}

func (w *world) live(steps int) {
	w.t.Helper()
	for range steps {
		w.must(w.step())
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// audit copies the disk out and has the auditor read the copy.
func (w *world) audit(disk *faultfs.Mem) *auditor.Report {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "copy")
	w.must(disk.CopyTo(dir))
	return audit(w.t, filepath.Join(dir, "data"))
}

func audit(t *testing.T, dir string) *auditor.Report {
	t.Helper()
	r, err := auditor.Audit(t.Context(), dir, auditor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// text is the report without the long list of what lives.
func text(r *auditor.Report) string {
	var b bytes.Buffer
	_ = r.WriteText(&b)
	short, _, _ := strings.Cut(b.String(), "\nLive: ")
	return short
}

// ledgers gives both ledgers in one form.
func auditorLedger(r *auditor.Report) string {
	var out []string
	for _, t := range r.Ledger {
		if len(t.Sources)+len(t.Terminal) > 0 || t.Held != 0 || t.Lost != 0 {
			out = append(out, fmt.Sprintf("%s sources %v terminal %v held %d lost %d", t.Tenant, t.Sources, t.Terminal, t.Held, t.Lost))
		}
	}
	return strings.Join(out, "\n")
}

func spoolLedger(l spool.Ledger) string {
	kinds := []string{"other", "inbound", "trusted", "submitted", "report"}
	states := []string{"", "", "", "delivered", "bounced", "dsn-suppressed", "discarded", "deleted"}
	nonzero := func(names []string, v []int64) map[string]int64 {
		m := map[string]int64{}
		for i, n := range v {
			if n != 0 {
				m[names[i]] = n
			}
		}
		return m
	}
	var out []string
	for _, tenant := range slices.Sorted(maps.Keys(l.Tenants)) {
		t := l.Tenants[tenant]
		if s, e := nonzero(kinds, t.Sources[:]), nonzero(states, t.Terminal[:]); len(s)+len(e) > 0 || t.Live+t.Held != 0 || t.Lost != 0 {
			out = append(out, fmt.Sprintf("%s sources %v terminal %v held %d lost %d", tenant, s, e, t.Live+t.Held, t.Lost))
		}
	}
	return strings.Join(out, "\n")
}

// auditorLive and spoolLive give the live mail in one form.
func auditorLive(r *auditor.Report) string {
	var out []string
	for _, m := range r.Live {
		line := m.ID.String() + " " + m.Tenant
		for _, rc := range m.Recipients {
			line += " " + rc.Path + ":" + rc.State
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func spoolLive(t *testing.T, s *spool.Spool) string {
	t.Helper()
	states := []string{"none", "queued", "held", "delivered", "bounced", "dsn-suppressed", "discarded", "deleted"}
	var ids []envelope.ID
	for e := range s.Live {
		ids = append(ids, e.ID)
	}
	slices.SortFunc(ids, func(a, b envelope.ID) int { return bytes.Compare(a[:], b[:]) })
	var out []string
	for _, id := range ids {
		e, list, err := s.Envelope(id)
		if err != nil {
			t.Fatal(err)
		}
		line := id.String() + " " + e.Tenant
		for i, st := range list {
			line += fmt.Sprintf(" %s@%s:%s", e.Forward[i].Path.Local, e.Forward[i].Path.Domain, states[st.State])
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func same(t *testing.T, what, fromAuditor, fromSpool string) {
	t.Helper()
	if fromAuditor != fromSpool {
		t.Errorf("%s by the auditor:\n%s\nby the spool:\n%s", what, fromAuditor, fromSpool)
	}
}
