package spool

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"testing"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
)

// onlyDir is the one incarnation's directory.
func onlyDir(t testing.TB, fsys durable.FS, root string) string {
	t.Helper()
	names, err := fsys.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := ""
	for _, e := range names {
		if _, err := envelope.ParseIncarnation(e.Name()); err == nil {
			if dir != "" {
				t.Fatalf("several incarnations in %s", root)
			}
			dir = path.Join(root, e.Name())
		}
	}
	return dir
}

func readAll(t testing.TB, fsys durable.FS, name string) []byte {
	t.Helper()
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := readFull(f, b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

func overwrite(t testing.TB, fsys durable.FS, name string, off int64, b []byte) {
	t.Helper()
	f, err := fsys.OpenReadWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func removeCheckpoints(t testing.TB, fsys durable.FS, dir string) {
	t.Helper()
	names, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if _, ok := fileNumber(e.Name(), "checkpoint"); ok {
			if err := fsys.Remove(path.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// sample is a closed spool with messages in batches of several, and the octets
// of its first segment.
type sample struct {
	m        *faultfs.Mem
	cfg      Config
	segment  string
	octets   []byte
	contents map[envelope.ID][]byte
	used     int64
}

func makeSample(t testing.TB) *sample {
	t.Helper()
	m := faultfs.NewMem()
	sa := &sample{m: m, cfg: testConfig(m, "/data/spool"), contents: map[envelope.ID][]byte{}}
	s, _ := mustOpen(t, sa.cfg)
	for i := range 6 {
		var envs []*envelope.Envelope
		d, err := s.NewDraft(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		content := makeContent(700+300*i, byte(i))
		if _, err := d.Write(content); err != nil {
			t.Fatal(err)
		}
		for range 1 + i%2 { // some share content
			env := makeEnvelope(s.NextID(), "t1", 1+i%3)
			envs = append(envs, env)
			sa.contents[env.ID] = content
		}
		if err := s.Commit(context.Background(), d, envs, nil); err != nil {
			t.Fatal(err)
		}
	}
	// One batch of many: what the committer makes of callers that come
	// together is made by hand here, so that the sample is the same each time.
	s.mu.Lock()
	var b *batch
	for i := range 5 {
		g := groupPool.Get().(*group)
		env := makeEnvelope(s.NextID(), "t1", 1)
		content := makeContent(900, byte(50+i))
		env.Size = int64(len(content))
		sa.contents[env.ID] = content
		g.content(&Draft{buf: content}, []*envelope.Envelope{env}, contentRef{})
		var err error
		if b, err = s.enqueueLocked(g, true); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Unlock()
	<-b.done
	if b.err != nil {
		t.Fatal(b.err)
	}
	mustApply(t, s, deferred(firstID(sa.contents), 0, s.cfg.Clock()))
	sa.used = s.commit.off
	mustClose(t, s)
	dir := onlyDir(t, m, sa.cfg.Dir)
	removeCheckpoints(t, m, dir)
	sa.segment = segmentName(dir, 1)
	sa.octets = readAll(t, m, sa.segment)
	// A second run writes the mark of what was synced.
	s, rec := mustOpen(t, sa.cfg)
	if rec.Hurt() || rec.Live != len(sa.contents) {
		t.Fatalf("the sample is not sound: live %d of %d, %v", rec.Live, len(sa.contents), rec.Findings)
	}
	if err := s.barrier(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	removeCheckpoints(t, m, dir)
	return sa
}

func firstID(m map[envelope.ID][]byte) envelope.ID {
	var first envelope.ID
	for id := range m {
		if first.IsZero() || bytes.Compare(id[:], first[:]) < 0 {
			first = id
		}
	}
	return first
}

func TestAFlippedByteHurtsOnlyItsMessageAndIsNamed(t *testing.T) {
	t.Parallel()
	sa := makeSample(t)
	step := int64(97)
	hurting := 0
	for off := int64(0); off < sa.used; off += step {
		m := sa.m.CrashClone(faultfs.KeepAll, 0)
		overwrite(t, m, sa.segment, off, []byte{sa.octets[off] ^ 0x20})
		cfg := sa.cfg
		cfg.FS = m
		hurt, err := sa.judge(cfg)
		if err != nil {
			t.Fatalf("flip at %d: %v", off, err)
		}
		hurting += hurt
	}
	if hurting < 20 {
		t.Fatalf("only %d flips hurt anything: the test does not test", hurting)
	}
}

// judge opens a hurt sample: every message that is not whole must be named,
// and at most the messages of one content may be hurt.
func (sa *sample) judge(cfg Config) (contents int, err error) {
	s, rec, err := Open(context.Background(), cfg)
	if err != nil {
		return 0, fmt.Errorf("damage kept the spool from opening: %w", err)
	}
	defer func() { _ = s.Close(context.Background()) }()
	named := map[envelope.ID]Finding{}
	for _, f := range rec.Findings {
		named[f.ID] = f
	}
	hurt := map[string]bool{}
	got := live(s)
	for id, want := range sa.contents {
		b, err := readContent(s, id)
		if err == nil && bytes.Equal(b, want) {
			continue
		}
		if err == nil {
			return 0, fmt.Errorf("%v was given out with other content", id)
		}
		f, ok := named[id]
		if !ok {
			return 0, fmt.Errorf("%v is hurt (%w) and not named: %v", id, err, rec.Findings)
		}
		if len(f.Forward) == 0 {
			return 0, fmt.Errorf("%v is named without its recipients: %v", id, f)
		}
		hurt[string(want)] = true
	}
	if len(hurt) > 1 {
		return 0, fmt.Errorf("%d contents are hurt by one byte: %v", len(hurt), rec.Findings)
	}
	for id := range got {
		if sa.contents[id] == nil {
			return 0, fmt.Errorf("%v was never committed", id)
		}
	}
	led := s.Ledger()
	if t := led.Total(); t.Difference() != 0 {
		return 0, fmt.Errorf("the ledger does not balance: %+v", t)
	}
	return len(hurt), nil
}

func TestADeletedSegmentIsNamedMessageByMessage(t *testing.T) {
	for _, checkpoint := range []bool{true, false} {
		t.Run(fmt.Sprintf("checkpoint=%v", checkpoint), func(t *testing.T) {
			m := faultfs.NewMem()
			cfg := testConfig(m, "/data/spool")
			s, _ := mustOpen(t, cfg)
			contents := map[envelope.ID][]byte{}
			for i := range 60 {
				c := makeContent(4000, byte(i))
				contents[mustCommit(t, s, c, 2).ID] = c
			}
			mustClose(t, s)
			dir := onlyDir(t, m, cfg.Dir)
			if !checkpoint {
				removeCheckpoints(t, m, dir)
			}
			if err := m.Remove(segmentName(dir, 2)); err != nil {
				t.Fatal(err)
			}
			s, rec := mustOpen(t, cfg)
			missing := 0
			named := map[envelope.ID]bool{}
			for _, f := range rec.Findings {
				if f.Kind == LostMessage && !f.ID.IsZero() {
					if len(f.Forward) != 2 || f.Reverse.Local != "sender" {
						t.Errorf("named without its paths: %v", f)
					}
					named[f.ID] = true
				}
			}
			got := live(s)
			for id := range contents {
				if _, ok := got[id]; ok {
					continue
				}
				missing++
				if !named[id] {
					t.Errorf("%v is gone and not named", id)
				}
			}
			if missing == 0 || missing == len(contents) || len(named) != missing {
				t.Fatalf("%d of %d are gone, %d named", missing, len(contents), len(named))
			}
			led := s.Ledger()
			if total := led.Total(); total.Difference() != 0 || total.Lost != int64(2*missing) {
				t.Errorf("ledger %+v, want %d lost", total, 2*missing)
			}
			mustClose(t, s)
		})
	}
}

func TestAuditNamesWhatIsDeletedOrFlippedUnderARunningSpool(t *testing.T) {
	m := faultfs.NewMem()
	cfg := testConfig(m, "/data/spool")
	s, _ := mustOpen(t, cfg)
	var ids []envelope.ID
	for i := range 60 {
		ids = append(ids, mustCommit(t, s, makeContent(4000, byte(i)), 1).ID)
	}
	rep, err := s.Audit(context.Background())
	if err != nil || len(rep.Findings) > 0 || rep.Live != len(ids) {
		t.Fatalf("audit of a sound spool: %v, live %d, %v", err, rep.Live, rep.Findings)
	}
	e, _ := s.idx.get(ids[3])
	name := segmentName(s.dir, uint64(e.segment))
	b := readAll(t, m, name)
	overwrite(t, m, name, int64(e.offset)+60, []byte{b[int64(e.offset)+60] ^ 1})
	rep, err = s.Audit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !names(rep.Findings, ids[3]) || names(rep.Findings, ids[4]) {
		t.Errorf("after a flip in the accept of %v: %v", ids[3], rep.Findings)
	}
	last, _ := s.idx.get(ids[59])
	if err := m.Remove(segmentName(s.dir, uint64(last.segment))); err != nil {
		t.Fatal(err)
	}
	rep, err = s.Audit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !names(rep.Findings, ids[59]) {
		t.Errorf("after deleting the segment of %v: %v", ids[59], rep.Findings)
	}
	_ = s.Close(context.Background())
}

func names(list []Finding, id envelope.ID) bool {
	for _, f := range list {
		if f.ID == id && len(f.Forward) > 0 {
			return true
		}
	}
	return false
}
