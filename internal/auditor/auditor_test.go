package auditor

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/envelope"
)

func run(t testing.TB, dir string) *Report {
	t.Helper()
	r, err := Audit(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t testing.TB, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// ledger is "tenant sources/terminal/held/lost/missing" for each tenant.
func ledger(r *Report) string {
	var out []string
	for _, t := range r.Ledger {
		out = append(out, fmt.Sprintf("%s %d/%d/%d/%d/%d", t.Tenant, sum(t.Sources), sum(t.Terminal), t.Held, t.Lost, t.Missing))
	}
	return strings.Join(out, ", ")
}

func live(r *Report) string {
	var out []string
	for _, m := range r.Live {
		for _, rc := range m.Recipients {
			out = append(out, fmt.Sprintf("%d:%s:%s", m.ID.Sequence(), rc.Path, rc.State))
		}
	}
	return strings.Join(out, " ")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %q, want %q", what, got, want)
	}
}

// twoLogs forges a healthy main and event log: message 1 delivered, message 2
// with one of two recipients delivered, message 3 untouched.
func twoLogs() (*forgery, *forgery) {
	main := newForgery("segment-00000001", 1, 77, 0, 1, own)
	main.batch(mail(1, "t1", "first", "example.test")...)
	main.batch(append(mail(2, "t1", "second", "example.test", "example.org"), finish(1, 0, 3))...)
	main.batch(mail(3, "t2", strings.Repeat("third", 2000), "example.net")...)
	main.batch(finish(2, 1, 3))
	main.batch() // bears S
	ev := newForgery("event-00000001", 1, 88, 0, 1, own)
	ev.thru = 4
	ev.batch(accept(1, "t1", "example.test"), accept(2, "t1", "example.test", "example.org"), finish(1, 0, 3))
	ev.batch(accept(3, "t2", "example.net"), finish(2, 1, 3))
	ev.batch()
	return main, ev
}

func TestAHealthyDirectoryIsSoundAndItsLiveMailIsNamed(t *testing.T) {
	r := run(t, dirOf(t, first(twoLogs()), second(twoLogs())))
	if !r.Sound {
		t.Errorf("not sound:\n%s", text(t, r))
	}
	want(t, "ledger", ledger(r), "t1 3/2/1/0/0, t2 1/0/1/0/0")
	want(t, "live", live(r), "2:user0@example.test:queued 2:user1@example.org:delivered 3:user0@example.net:queued")
	m := r.Live[0]
	want(t, "message", fmt.Sprint(m.Tenant, " ", m.Reverse, " ", m.Kind, " ", m.Octets, " ", m.Where),
		"t1 alice@sender.example inbound 6 "+own.String()+"/segment-00000001 at 12432")
}

func first(a, _ *forgery) *forgery  { return a }
func second(_, b *forgery) *forgery { return b }

func TestADataDirectoryIsReadByEitherName(t *testing.T) {
	main, ev := twoLogs()
	dir := t.TempDir()
	put(t, dir, "spool/"+own.String()+"/"+main.name, main.b)
	put(t, dir, "spool/"+own.String()+"/"+ev.name, ev.b)
	if r := run(t, dir); r.Counts.Live != 2 || !r.Sound {
		t.Errorf("%d live", r.Counts.Live)
	}
	if _, err := Audit(t.Context(), filepath.Join(dir, "no"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Audit(ctx, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled audit: %v", err)
	}
}

// Every octet that carries something, flipped: named, and never believed.
func TestAFlippedOctetIsNamedAndAllOtherMailIsKept(t *testing.T) {
	main, ev := twoLogs()
	healthy := live(run(t, dirOf(t, main, ev)))
	for at := range main.b {
		if at%37 != 0 && (at < 8192 || at > 8192+700) {
			continue // each octet of the first batch's start, a sample of the rest
		}
		hurt := *main
		hurt.b = bytes.Clone(main.b)
		hurt.b[at] ^= 0x10
		r := run(t, dirOf(t, &hurt, ev))
		if r.Sound && !unsummed(main.b, at) {
			t.Fatalf("octet %d flipped, and the report is sound", at)
		}
		for _, m := range r.Live {
			if !strings.Contains(healthy, fmt.Sprintf("%d:", m.ID.Sequence())) && m.ID != id(1) {
				t.Fatalf("octet %d flipped: live mail %s from nowhere", at, m.ID)
			}
		}
		if n := r.Counts.Live + r.Counts.Lost; n < 2 {
			t.Fatalf("octet %d flipped: %d live and %d lost, but 2 were live\n%s", at, r.Counts.Live, r.Counts.Lost, text(t, r))
		}
	}
}

// unsummed reports whether at is padding, which no sum covers and no one reads.
func unsummed(b []byte, at int) bool {
	for off := max(0, at-8); off < min(len(b), at+8); off++ {
		if b[off] != 0 {
			return off < at-7 || b[at] == 0
		}
	}
	return true
}

func TestALostAcceptIsNamedFromTheEventLog(t *testing.T) {
	main, ev := twoLogs()
	clear(main.b[main.starts[2] : main.starts[2]+16384]) // message 3's batch
	r := run(t, dirOf(t, main, ev))
	if r.Sound || r.Counts.Lost != 1 || r.Counts.NewDamage != 1 {
		t.Fatalf("report:\n%s", text(t, r))
	}
	m := r.Lost[0]
	want(t, "lost", fmt.Sprint(m.ID == id(3), " ", m.Tenant, " ", m.Reverse, " ", m.Recipients[0].Path), "true t2 alice@sender.example user0@example.net")
	want(t, "damage", r.Damage[0].What, "no batch can be read here")
}

func TestADamagedRecordOfASyncedBatchLeavesTheOthers(t *testing.T) {
	main, ev := twoLogs()
	at := bytes.Index(main.b, []byte("second"))
	main.b[at] ^= 1
	r := run(t, dirOf(t, main, ev))
	if r.Sound || r.Counts.Damage != 1 || r.Damage[0].ID != id(2) || r.Damage[0].Record != "content" {
		t.Fatalf("report:\n%s", text(t, r))
	}
	want(t, "live", live(r), "2:user0@example.test:queued 2:user1@example.org:delivered 3:user0@example.net:queued")
	want(t, "what is wrong with message 2", r.Live[0].Why, "the content's sum is wrong")
}

func TestATornTailIsNoDamage(t *testing.T) {
	main, ev := twoLogs()
	main.batch(mail(4, "t1", "torn", "example.test")...)
	whole := bytes.Clone(main.b)
	tail := main.starts[len(main.starts)-1]
	for _, cut := range []int{tail + 1, tail + 96, tail + 300, tail + 4095} {
		main.b = append(bytes.Clone(whole[:cut]), make([]byte, len(whole)-cut)...)
		r := run(t, dirOf(t, main, ev))
		if !r.Sound || strings.Contains(live(r), "4:") {
			t.Fatalf("cut at %d:\n%s", cut-tail, text(t, r))
		}
	}
	main.b = whole
	if r := run(t, dirOf(t, main, ev)); !strings.Contains(live(r), "4:") {
		t.Error("a whole batch that no one says was synced must count")
	}
	main.b = bytes.Clone(whole)
	main.b[bytes.LastIndex(main.b, []byte("torn"))] ^= 1
	if r := run(t, dirOf(t, main, ev)); strings.Contains(live(r), "4:") || !r.Sound || r.Counts.Torn != 1 {
		t.Errorf("a group with a bad record in an unsynced batch must not count:\n%s", text(t, r))
	}
}

func TestAnAbandonedBatchDoesNotCount(t *testing.T) {
	main, ev := twoLogs()
	main.batch(mail(4, "t1", "abandoned", "example.test")...) // number 6
	next := newForgery("segment-00000002", 2, 99, 5, 7, own)
	next.batch(mail(5, "t1", "again", "example.test")...)
	next.batch()
	r := run(t, dirOf(t, main, next, ev))
	if strings.Contains(live(r), "4:") || !strings.Contains(live(r), "5:") || r.Counts.Torn != 1 || r.Counts.Damage != 0 {
		t.Errorf("report:\n%s", text(t, r))
	}
}

func TestABatchThatAScarCallsTornStaysTorn(t *testing.T) {
	main, ev := twoLogs()
	start := main.batch(mail(4, "t1", "torn", "example.test")...) // number 6
	clear(main.b[start+4096-96:])
	next := newForgery("segment-00000002", 2, 99, 6, 7, own)
	scar := []byte{2}
	for _, v := range []uint64{1, uint64(start), 4096, 6} {
		scar = binary.LittleEndian.AppendUint64(scar, v)
	}
	next.batch(rec{recNote, 1, envelope.ID{}, append(scar, 1)})
	next.batch(mail(5, "t1", "later", "example.test")...)
	next.batch()
	if r := run(t, dirOf(t, main, next, ev)); strings.Contains(live(r), "4:") || r.Counts.NewDamage != 0 || !r.Sound {
		t.Errorf("report:\n%s", text(t, r))
	}
}

func TestAMissingTailOrSegmentIsNamed(t *testing.T) {
	main, ev := twoLogs()
	next := newForgery("segment-00000003", 3, 99, 9, 10, own)
	next.batch()
	r := run(t, dirOf(t, main, next, ev))
	if r.Sound || !strings.Contains(text(t, r), "the 1 files before it are missing") {
		t.Errorf("a segment is missing:\n%s", text(t, r))
	}
	next = newForgery("segment-00000002", 2, 99, 9, 10, own)
	next.batch()
	r = run(t, dirOf(t, main, next, ev))
	if r.Sound || !strings.Contains(text(t, r), "batches 6 to 9, before this file, are missing") {
		t.Errorf("a tail is missing:\n%s", text(t, r))
	}
}

func TestDamageInTheEventLogIsToldFromItsTornEnds(t *testing.T) {
	main, ev := twoLogs()
	ev.b[ev.starts[1]+200] ^= 1
	if r := run(t, dirOf(t, main, ev)); r.Sound || r.Counts.Damage != 1 {
		t.Errorf("a bad record with good batches behind it:\n%s", text(t, r))
	}
	main, ev = twoLogs()
	torn := newForgery("event-00000002", 2, 66, 3, 4, own)
	torn.thru = 4
	torn.batch()
	torn.b[torn.starts[0]+20] ^= 1
	next := newForgery("event-00000003", 3, 67, 4, 5, own)
	next.thru = 4
	next.batch()
	next.batch() // says that 5, and so 4, was synced
	if r := run(t, dirOf(t, main, ev, torn, next)); !r.Sound || r.Counts.Torn != 1 {
		t.Errorf("a torn end of a file that was left open:\n%s", text(t, r))
	}
}

func TestADeletedLogIsNamedMessageByMessage(t *testing.T) {
	_, ev := twoLogs()
	r := run(t, dirOf(t, ev))
	if r.Sound || r.Counts.Lost != 2 || r.Counts.LostRecipients != 2 {
		t.Errorf("report:\n%s", text(t, r))
	}
}

func TestChangesBehindTheEventLogAreNoDifference(t *testing.T) {
	main, ev := twoLogs()
	main.batch(finish(2, 0, 4), finish(3, 0, 3))
	main.batch(mail(4, "t1", "new", "example.test")...)
	main.batch()
	r := run(t, dirOf(t, main, ev))
	if !r.Sound {
		t.Errorf("report:\n%s", text(t, r))
	}
	ev.thru = 8
	ev.batch()
	r = run(t, dirOf(t, main, ev))
	if r.Sound || r.Counts.Differences != 3 {
		t.Errorf("the event log says it knows them, and does not:\n%s", text(t, r))
	}
}

func TestACheckpointGivesTheLedgerAndIsComparedWithTheLog(t *testing.T) {
	main, ev := twoLogs()
	dir := dirOf(t, main, ev)
	name := own.String() + "/checkpoint-00000007"
	good := checkpointOctets(7, 3, bookBody("t1", 103, 101, 0), forgedEntry{id(2), "t1", 1, 12424, []byte{1, 1}}, forgedEntry{id(3), "t2", 1, 0, []byte{1}})
	put(t, dir, name, good)
	r := run(t, dir)
	want(t, "ledger", ledger(r), "t1 103/102/1/0/0, t2 0/0/1/0/-1")
	if r.Incarnations[0].Checkpoint != 7 || r.Counts.Differences != 0 || r.Sound {
		t.Errorf("report:\n%s", text(t, r))
	}

	put(t, dir, name, checkpointOctets(7, 3, bookBody("t1", 103, 101, 0), forgedEntry{id(2), "t1", 1, 12424, []byte{1, 1}},
		forgedEntry{id(9), "t1", 1, 500, []byte{1, 3}}))
	r = run(t, dir)
	// A node would start from the checkpoint: 3 would never be delivered.
	if r.Counts.Lost != 2 || r.Lost[0].ID != id(3) || r.Lost[1].ID != id(9) || len(r.Lost[1].Recipients) != 1 || r.Lost[1].Recipients[0].Path != "@example.test" {
		t.Errorf("messages 3 and 9 are not lost:\n%s", text(t, r))
	}
	if !strings.Contains(text(t, r), "live by the main log, unknown to the checkpoint") {
		t.Errorf("message 3 is no difference:\n%s", text(t, r))
	}

	put(t, dir, name, good[:len(good)-1])
	if r = run(t, dir); r.Sound || !r.Restarted || r.Counts.Damage != 1 {
		t.Errorf("a damaged checkpoint:\n%s", text(t, r))
	}
	put(t, dir, own.String()+"/checkpoint-00000006", checkpointOctets(6, 3, bookBody("t1", 103, 101, 0),
		forgedEntry{id(2), "t1", 1, 12424, []byte{1, 1}}, forgedEntry{id(3), "t2", 1, 0, []byte{1}}))
	if r = run(t, dir); r.Incarnations[0].Checkpoint != 6 || r.Restarted {
		t.Errorf("the older checkpoint was not used:\n%s", text(t, r))
	}
}

func TestDraftsAreChecked(t *testing.T) {
	main := newForgery("segment-00000001", 1, 77, 0, 1, own)
	sum := crc32.Checksum([]byte("big content"), crcTable)
	for n := range uint64(3) {
		main.batch(rec{recAccept, 1, id(n + 1), acceptBody("t1", 0, 11, id(100+n), sum, "example.test")})
	}
	main.batch()
	dir := dirOf(t, main)
	put(t, dir, own.String()+"/draft-"+id(100).String(), []byte("big content"))
	put(t, dir, own.String()+"/draft-"+id(101).String(), []byte("bug content"))
	put(t, dir, own.String()+"/draft-"+id(103).String(), []byte("nobody's"))
	r := run(t, dir)
	got := map[string]string{}
	for _, d := range r.Drafts {
		got[filepath.Base(d.File)] = d.What
	}
	if len(got) != 3 || got["draft-"+id(101).String()] != "damaged" || got["draft-"+id(102).String()] != "missing" || got["draft-"+id(103).String()] != "orphan" {
		t.Errorf("drafts: %v", got)
	}
	if r.Sound {
		t.Error("sound")
	}
}

func TestACopyReplacesItsAcceptAndLateChangesKeepTheirPlace(t *testing.T) {
	main, ev := twoLogs()
	c := mail(2, "t1", "second", "example.test", "example.org")
	c[1].kind, c[1].body = recCopy, copyBody(c[1].body, 1, 1)
	next := newForgery("segment-00000002", 2, 99, 5, 6, own)
	next.batch(c...)
	next.batch()
	r := run(t, dirOf(t, main, next, ev))
	if !r.Sound || !strings.Contains(r.Live[0].Where, "segment-00000002") {
		t.Errorf("report:\n%s", text(t, r))
	}
	want(t, "live", live(r), "2:user0@example.test:queued 2:user1@example.org:delivered 3:user0@example.net:queued")

	// The old segment is gone: the copy's own statuses count.
	next.batch(finish(2, 0, 3))
	next.batch()
	r = run(t, dirOf(t, next))
	want(t, "ledger", ledger(r), "t1 2/1/1/0/0")
}

func TestAnAdoptedDirectoryCountsOnce(t *testing.T) {
	other := envelope.Incarnation{9, 9, 9}
	main, ev := twoLogs() // directory own
	foreign := newForgery("segment-00000001", 1, 55, 0, 1, other)
	c := mail(3, "t2", strings.Repeat("third", 2000), "example.net")
	c[1].kind, c[1].body = recCopy, copyBody(c[1].body, 1)
	c2 := mail(2, "t1", "second", "example.test", "example.org")
	c2[1].kind, c2[1].body = recCopy, copyBody(c2[1].body, 1, 3)
	foreign.batch(append(c, c2...)...)
	foreign.batch()
	dir := dirOf(t, main, ev)
	put(t, dir, other.String()+"/"+foreign.name, foreign.b)
	r := run(t, dir)
	want(t, "ledger while adopting", ledger(r), "t1 3/2/1/0/0, t2 1/0/1/0/0")
	if !r.Sound {
		t.Errorf("while adopting:\n%s", text(t, r))
	}

	note := append([]byte{1}, own[:]...)
	note = binary.AppendUvarint(note, 2)
	note = append(note, bookBody("t1", 1, 1, 0)[1:]...) // of message 1, which has ended
	note = append(note, bookBody("t2", 0, 0, 0)[1:]...)
	foreign.batch(rec{recNote, 1, envelope.ID{}, note})
	foreign.batch()
	put(t, dir, other.String()+"/"+foreign.name, foreign.b)
	r = run(t, dir)
	want(t, "ledger after adopting", ledger(r), "t1 3/2/1/0/0, t2 1/0/1/0/0")
	if !r.Sound || !strings.Contains(r.Live[0].Where, other.String()) {
		t.Errorf("after adopting:\n%s", text(t, r))
	}

	// Put aside: only its event log is left.
	if err := os.Rename(filepath.Join(dir, own.String()), filepath.Join(dir, "adopted-"+own.String())); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "adopted-"+own.String(), main.name)); err != nil {
		t.Fatal(err)
	}
	r = run(t, dir)
	want(t, "ledger when put aside", ledger(r), "t1 3/2/1/0/0, t2 1/0/1/0/0")
	if !r.Sound || r.Counts.Live != 2 {
		t.Errorf("when put aside:\n%s", text(t, r))
	}
}

func TestTheReportIsJSONAndFitsAScreen(t *testing.T) {
	main, ev := twoLogs()
	main.b[main.starts[1]+200] ^= 1
	r := run(t, dirOf(t, main, ev))
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil || back.Counts != r.Counts || len(back.Live) != len(r.Live) {
		t.Errorf("does not read back: %v", err)
	}
	for _, field := range []string{`"live":[`, `"torn":[]`, `"missing":0`, `"reverse_path"`} {
		if !bytes.Contains(b, []byte(field)) {
			t.Errorf("no %s in %s", field, b)
		}
	}
	r.Dir = "/copy"
	for _, l := range strings.Split(text(t, r), "\n") {
		if len(l) > 80 {
			t.Errorf("line of %d: %s", len(l), l)
		}
	}
}

func TestWhatStrangersChoseDoesNotSteerATerminal(t *testing.T) {
	main := newForgery("segment-00000001", 1, 77, 0, 1, own)
	main.batch(accept(1, "t\x1b[2J", "exa\nmple.test\x9b"))
	main.batch()
	if got := text(t, run(t, dirOf(t, main))); strings.Contains(got, "\x1b") || strings.Contains(got, "\x9b") || !strings.Contains(got, "exa?mple.test?") {
		t.Errorf("text: %q", got)
	}
}

func TestListsEndAtTheLimitAndCountsDoNot(t *testing.T) {
	main := newForgery("segment-00000001", 1, 77, 0, 1, own)
	for n := range uint64(20) {
		main.batch(accept(n+1, "t1", "example.test"))
	}
	main.batch()
	r, err := Audit(t.Context(), dirOf(t, main), Options{Limit: 5})
	if err != nil || len(r.Live) != 5 || r.Counts.Live != 20 {
		t.Errorf("%d named, %d counted, %v", len(r.Live), r.Counts.Live, err)
	}
}

// Garbage of any sort ends in a report. The input is a list of edits, five
// octets each: file, offset (3), new octet; what is left over replaces the
// start of the segment.
func FuzzAudit(f *testing.F) {
	main, ev := twoLogs()
	ck := checkpointOctets(7, 3, bookBody("t1", 103, 101, 0), forgedEntry{id(2), "t1", 1, 12424, []byte{1, 1}})
	f.Add([]byte{0, 0, 32, 3, 1, 2, 0, 0, 90, 7})
	f.Add([]byte("PSTN"))
	f.Fuzz(func(t *testing.T, edits []byte) {
		files := [][]byte{bytes.Clone(main.b), bytes.Clone(ev.b), bytes.Clone(ck)}
		for ; len(edits) >= 5; edits = edits[5:] {
			b := files[int(edits[0])%len(files)]
			b[(int(edits[1])<<16|int(edits[2])<<8|int(edits[3]))%len(b)] = edits[4]
		}
		copy(files[0], edits)
		dir := t.TempDir()
		put(t, dir, own.String()+"/segment-00000001", files[0])
		put(t, dir, own.String()+"/event-00000001", files[1])
		put(t, dir, own.String()+"/checkpoint-00000001", files[2])
		_ = text(t, run(t, dir))
	})
}

// Bodies behind a good sum are parsed too: whatever they are, they end.
func FuzzBodies(f *testing.F) {
	f.Add(byte(recAccept), acceptBody("t1", 0, 0, envelope.ID{}, 0, "example.test"))
	f.Add(byte(recCopy), copyBody(acceptBody("t1", 0, 0, envelope.ID{}, 0, "a", "b"), 1, 3))
	f.Add(byte(recFinish), changeBody(0, 3, true))
	f.Add(byte(recNote), append(append([]byte{1}, own[:]...), bookBody("t", 1, 2, 3)...))
	f.Add(byte(recLost), []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		main := newForgery("segment-00000001", 1, 77, 0, 1, own)
		main.batch(accept(1, "t1", "example.test"), rec{kind, 1, id(1), body}, rec{kind, 1, id(2), body})
		main.batch()
		ev := newForgery("event-00000001", 1, 88, 0, 1, own)
		ev.batch(accept(1, "t1", "example.test"), rec{kind, 1, id(1), body}, rec{kind, 1, id(2), body})
		ev.batch()
		_ = text(t, run(t, dirOf(t, main, ev)))
	})
}

// One segment of 5 KB messages, 20 a batch, none of them ended.
func BenchmarkAudit(b *testing.B) {
	main := newForgery("segment-00000001", 1, 77, 0, 1, own)
	content := strings.Repeat("x", 5000)
	for n := uint64(1); n < 10_000; n += 20 {
		var list []rec
		for i := range uint64(20) {
			list = append(list, mail(n+i, "t1", content, "example.test")...)
		}
		main.batch(list...)
	}
	dir := dirOf(b, main)
	b.SetBytes(int64(len(main.b)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := Audit(b.Context(), dir, Options{})
		if err != nil || r.Counts.Live != 10_000 {
			b.Fatal(err, r.Counts.Live)
		}
	}
}
