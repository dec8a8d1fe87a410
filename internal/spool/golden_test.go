package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

var update = flag.Bool("update", false, "write testdata/v1 again: only before the first release of a format")

// told is all that a reader of a spool can tell, for comparing.
type told struct {
	Messages []toldMessage
	Events   []string
	Ledger   TenantLedger
}

type toldMessage struct {
	ID       envelope.ID
	Envelope envelope.Envelope
	Statuses []envelope.Status
	SHA256   string
}

func tell(t *testing.T, s *Spool) told {
	t.Helper()
	var out told
	for id := range live(s) {
		env, st, err := s.Envelope(id)
		if err != nil {
			t.Fatal(err)
		}
		c, err := readContent(s, id)
		if err != nil {
			t.Fatal(err)
		}
		out.Messages = append(out.Messages, toldMessage{id, *env, st, fmt.Sprintf("%x", sha256.Sum256(c))})
	}
	slices.SortFunc(out.Messages, func(a, b toldMessage) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	err := s.Events(context.Background(), Filter{}, func(e Event) bool {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		out.Events = append(out.Events, string(b))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	led := s.Ledger()
	out.Ledger = led.Total()
	return out
}

// goldenConfig is on the clock of the day the files were made.
func goldenConfig(fsys durable.FS, dir string) Config {
	cfg := testConfig(fsys, dir)
	cfg.SegmentOctets, cfg.InlineMax = 64<<10, 8<<10
	cfg.RoomEvery = time.Hour
	cfg.Clock = func() time.Time { return time.Unix(1_800_000_000, 123).UTC() }
	return cfg
}

// makeGolden writes one of everything that format 1 has.
func makeGolden(t *testing.T, dir string) {
	t.Helper()
	s, _ := mustOpen(t, goldenConfig(durable.OS(), dir+"/spool"))
	a := mustCommit(t, s, makeContent(3000, 1), 3)
	b := mustCommit(t, s, makeContent(9000, 2), 1) // in a draft
	mustApply(t, s, deferred(a.ID, 0, time.Unix(1_800_000_300, 0).UTC()), finish(a.ID, 1))
	d, err := s.NewDraft(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte("a report\r\n")); err != nil {
		t.Fatal(err)
	}
	report := makeEnvelope(s.NextID(), "", 1)
	report.Kind, report.Parent, report.Reverse = envelope.Report, a.ID, smtp.Path{}
	report.UTF8, report.EightBit, report.Params.SMTPUTF8 = true, true, true
	report.Forward[0].Path = smtp.Path{Local: "grüße", Domain: "例え.test"}
	bounced := finish(a.ID, 2)
	bounced.To, bounced.Report = envelope.Bounced, report.ID
	bounced.Attempt.Reply = smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{Class: 5, Subject: 1, Detail: 1}, Text: []string{"no", "such user"}}
	if err := s.Commit(context.Background(), d, []*envelope.Envelope{report}, []envelope.Change{bounced}); err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, envelope.Change{ID: b.ID, To: envelope.Held})
	s.Refused(RefusedEvent{
		Time: time.Unix(1_800_000_001, 0), Tenant: "t1", Client: netip.MustParseAddrPort("198.51.100.7:9"), Listener: "mx", Hello: "h",
		Reverse: smtp.Path{Local: "x", Domain: "y.example"}, Forward: []smtp.Path{{Local: "u", Domain: "v.example"}}, Size: 5, Reply: smtp.Reply{Code: 554, Text: []string{"refused"}},
	})
	if _, err := s.copyOne(a.ID); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	inc := onlyDir(t, durable.OS(), dir+"/spool")
	names, err := os.ReadDir(inc)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		name := filepath.Join(inc, e.Name())
		if _, spare := fileNumber(e.Name(), "spare"); spare || e.Name() == "lock" {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		} else if _, seg := fileNumber(e.Name(), "segment"); seg {
			b := readAll(t, durable.OS(), name)
			if err := os.Truncate(name, max(firstBatch, int64(roundBlock(len(bytes.TrimRight(b, "\x00")))))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// copyTree copies a directory of the repository into memory.
func copyTree(t *testing.T, from string, m *faultfs.Mem, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return m.MkdirAll(to + "/" + rel)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := m.Create(to + "/" + rel)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			return err
		}
		return f.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFormat1IsReadForEver reads the files that the first build of format 1
// wrote, from its checkpoint and by a full scan.
func TestFormat1IsReadForEver(t *testing.T) {
	const dir = "testdata/v1"
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		makeGolden(t, dir)
	}
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprintf("full=%v", full), func(t *testing.T) {
			m := faultfs.NewMem()
			copyTree(t, dir+"/spool", m, "/data/spool")
			if full {
				removeCheckpoints(t, m, onlyDir(t, m, "/data/spool"))
			}
			s, rec := mustOpen(t, goldenConfig(m, "/data/spool"))
			if rec.Hurt() || rec.New || (rec.Checkpoint == 0) != full {
				t.Fatalf("new %v, checkpoint %d, %v", rec.New, rec.Checkpoint, rec.Findings)
			}
			got := tell(t, s)
			rep, err := s.Audit(context.Background())
			if err != nil || len(rep.Findings) > 0 {
				t.Errorf("audit: %v %v", err, rep.Findings)
			}
			mustClose(t, s)
			b, err := json.MarshalIndent(got, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			if *update && !full {
				if err := os.WriteFile(dir+"/told.json", b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(dir + "/told.json")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(b)); d != "" {
				t.Errorf("what format 1 says was read differently (-want +got):\n%s", d)
			}
		})
	}
}

// TestANewerFormatIsLeftAloneAndNamed: a file that asks for a newer reader, and
// a record of an unknown type, hold mail and never drop it.
func TestANewerFormatIsLeftAloneAndNamed(t *testing.T) {
	m := faultfs.NewMem()
	cfg := testConfig(m, "/data/spool")
	s, _ := mustOpen(t, cfg)
	env := mustCommit(t, s, makeContent(2000, 1), 2)
	g := &group{}
	at := g.start(recordType(77), env.ID)
	g.buf = append(g.buf, "of a newer build"...)
	g.end(at)
	if err := s.commitGroup(context.Background(), g); err != nil {
		t.Fatal(err)
	}
	dir := s.dir
	mustClose(t, s)
	removeCheckpoints(t, m, dir)
	s, rec := mustOpen(t, cfg)
	if !hasKind(rec.Findings, UnknownRecord, env.ID) {
		t.Errorf("not named: %v", rec.Findings)
	}
	_, st, err := s.Envelope(env.ID)
	if err != nil || st[0].State != envelope.Held || st[1].State != envelope.Held {
		t.Errorf("statuses %v, %v; want held", st, err)
	}
	e, _ := s.idx.get(env.ID)
	if seg := s.segs[uint64(e.segment)]; s.unused(seg) {
		t.Error("the segment with the unknown record may be freed")
	}
	mustClose(t, s)

	name := segmentName(dir, 1)
	b := readAll(t, m, name)[:block]
	var h fileHeader
	if !h.decode(b) {
		t.Fatal("no header")
	}
	le.PutUint16(b[10:], 2)
	le.PutUint32(b[block-4:], checksum(b[:block-4]))
	overwrite(t, m, name, 0, b)
	overwrite(t, m, name, block, b)
	s, rec = mustOpen(t, cfg)
	if !hasKind(rec.Findings, NewerFormat, envelope.ID{}) || !hasKind(rec.Findings, LostMessage, env.ID) {
		t.Errorf("a newer segment is not named with its message: %v", rec.Findings)
	}
	if _, ok := live(s)[env.ID]; !ok {
		t.Error("the message in it was dropped")
	}
	mustClose(t, s)
	if len(readAll(t, m, name)) == 0 {
		t.Error("the newer segment was touched")
	}
}

func hasKind(list []Finding, k FindingKind, id envelope.ID) bool {
	return slices.ContainsFunc(list, func(f Finding) bool { return f.Kind == k && f.ID == id })
}
