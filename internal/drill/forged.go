package drill

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/internal/telemetry"
)

// wound is where the octet is flipped that makes recovery search for the next
// good batch.
type wound struct {
	name string
	at   func(b *logBatch, r *logRecord) int // offset in the batch
}

var wounds = []wound{
	{"magic of the batch header", func(*logBatch, *logRecord) int { return 3 }},
	{"number in the batch header", func(*logBatch, *logRecord) int { return 16 }},
	{"length in the batch header", func(*logBatch, *logRecord) int { return 65 }},
	{"record around the forgery", func(_ *logBatch, r *logRecord) int { return r.offset + 5 }},
	{"batch trailer", func(b *logBatch, _ *logRecord) int { return len(b.octets) - 20 }},
}

// forgedRecords puts whole batches, good in everything but what a stranger
// can't know, into content beside a flipped octet, and starts the node on it.
// They accept mail that nobody sent and finish mail that was not delivered.
func forgedRecords(ctx context.Context, s *stage) error {
	for i, wd := range wounds {
		dir := filepath.Join(s.dir, itoa(i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		inner := *s
		inner.dir = dir
		before := len(s.result.Findings)
		if err := forgeOnce(ctx, &inner, wd); err != nil {
			return fmt.Errorf("%s: %w", wd.name, err)
		}
		if len(s.result.Findings) > before && s.part.weakness != "" {
			return nil // one forgery that works is enough
		}
	}
	s.fact("wounds", "%d, each beside forged batches that accept 1 and finish 1 message", len(wounds))
	return nil
}

func forgeOnce(ctx context.Context, s *stage, wd wound) error {
	var open atomic.Bool
	w, err := newWorld(s, worldConfig{yaml: quickRetry, sink: oracle.SinkConfig{Rcpt: func(string, int) string {
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
	victim, err := w.sendOne(ctx, "victim", 2000)
	if err != nil {
		return err
	}
	carrier, err := w.sendOne(ctx, "carrier", 60<<10)
	if err != nil {
		return err
	}
	if err := w.kill(); err != nil {
		return err
	}
	if err := w.plant(victim, carrier, wd); err != nil {
		return err
	}
	if err := w.node.Start(ctx); err != nil {
		s.finding("%s: the node does not start beside the wound: %v", wd.name, err)
		return nil
	}
	open.Store(true)
	after, err := w.sendOne(ctx, "after", 2000)
	if err != nil {
		return err
	}
	arrived := func(id string) func([]oracle.Arrival) bool {
		return func(all []oracle.Arrival) bool {
			for _, a := range all {
				if a.ID == id {
					return true
				}
			}
			return false
		}
	}
	within, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if w.sink.WaitFor(within, arrived(victim)) != nil {
		s.finding("%s: lost: the victim's message never arrived, a forged record finished it", wd.name)
	}
	if w.sink.WaitFor(within, arrived(after)) != nil {
		s.finding("%s: mail sent afterwards never arrived", wd.name)
	}
	for _, a := range w.sink.Arrivals() {
		if strings.HasPrefix(a.Recipient, "forged") || strings.HasPrefix(a.ID, "forged") {
			s.finding("%s: a forged record was accepted: %s arrived for %s", wd.name, a.ID, a.Recipient)
		}
	}
	w.panics()
	return ctx.Err()
}

// sendOne sends one acknowledged message and returns its ID.
func (w *world) sendOne(ctx context.Context, name string, octets int) (string, error) {
	c, err := oracle.Dial(ctx, w.node.SMTP)
	if err != nil {
		return "", err
	}
	defer c.Quit()
	id := fmt.Sprintf("%s-%x", name, w.rng.Uint32())
	m := oracle.Compose(id, sender, []string{id + ".0@" + goodDomain}, octets, rand.New(rand.NewPCG(w.seed, 1)))
	r, err := w.log.SendOne(c, m, oracle.Lockstep)
	if err != nil {
		return "", err
	}
	if r.Code != 250 {
		return "", fmt.Errorf("%s was answered %s", name, r.Text)
	}
	return id, nil
}

// plant changes the carrier's content in the log as if it had been sent with
// forged batches in it, and flips one octet of the batch around it.
func (w *world) plant(victim, carrier string, wd wound) error {
	files, err := w.spoolFiles("segment-")
	if err != nil {
		return err
	}
	for _, name := range files {
		f, err := readLog(name)
		if err != nil {
			return err
		}
		vb, _ := f.find([]byte(oracle.Mark + ": " + victim))
		cb, cr := f.find([]byte(oracle.Mark + ": " + carrier))
		if vb == nil || cb == nil {
			continue
		}
		accept := acceptOf(vb, victim)
		if accept == nil {
			return fmt.Errorf("%s: the victim's accept record is not in its batch", name)
		}
		w.overwrite(cb, cr, vb, accept)
		at := cb.at + int64(wd.at(cb, cr))
		f.octets[at] ^= 0x40
		return os.WriteFile(name, f.octets, 0o600)
	}
	return fmt.Errorf("victim and carrier are not in one segment of %d", len(files))
}

func acceptOf(b *logBatch, id string) *logRecord {
	for i := range b.records {
		if r := &b.records[i]; r.kind == typeAccept && bytes.Contains(r.body, []byte(id)) {
			return r
		}
	}
	return nil
}

// overwrite fills the carrier's content with forged batches at every block
// boundary that has room, and makes the carrier's own sums good.
func (w *world) overwrite(cb *logBatch, cr *logRecord, vb *logBatch, accept *logRecord) {
	s := sealer{weak: w.part.weakness == telemetry.UnseededCRC}
	body := int64(cr.offset) + recordHead // from the start of the batch
	from := (body + 2048 + logBlock - 1) / logBlock * logBlock
	end := body + int64(len(cr.body))
	for n := uint64(1); ; n++ {
		at := cb.at + from
		forged := s.forge(cb, at, w.rng.Uint64(), cb.number+n, w.forgedRecords(vb, accept))
		if from+int64(len(forged)) > end {
			break
		}
		copy(cb.octets[from:], forged)
		// What a stranger gets who copies a real batch out of another segment.
		copied := from + int64(len(forged))
		if copied+int64(len(vb.octets)) > end {
			break
		}
		copy(cb.octets[copied:], vb.octets)
		from = copied + int64(len(vb.octets))
	}
	s.reseal(cb)
}

// forgedRecords are a content and an accept of a message that nobody sent, and
// a finish of the victim's only recipient.
func (w *world) forgedRecords(vb *logBatch, accept *logRecord) []logRecord {
	id := accept.id
	littleBump(&id, w.rng.Uint32())
	content := logRecord{kind: typeContent, flags: 1, id: id}
	content.body = append(make([]byte, 8), oracle.Marked("forged", []byte("Subject: forged\r\n\r\nforged\r\n"))...)
	// The real accept, for another ID and another recipient of equal length; its
	// distance to the content is that of a batch of two records.
	fake := logRecord{kind: typeAccept, id: id, body: append([]byte(nil), accept.body...)}
	fake.body = bytes.ReplaceAll(fake.body, []byte("victim"), []byte("forged"))
	distance := (recordHead + len(content.body) + 7) &^ 7
	fake.body = redistance(fake.body, len(content.body)-8, distance)
	now := make([]byte, 8)
	littleEndian.PutUint64(now, uint64(time.Now().UnixNano()))
	finish := logRecord{kind: typeFinish, flags: 1, id: accept.id, body: append([]byte{1, 0, stateDelivered, 0, 0}, append(now, make([]byte, 8)...)...)}
	return []logRecord{content, fake, finish}
}

// littleBump makes another ID of the same incarnation, far from those in use.
func littleBump(id *[16]byte, by uint32) {
	id[15] ^= byte(by) | 1
	id[14] ^= byte(by >> 8)
	id[13] ^= 1
}

// redistance writes size and distance into an accept body of format 1: version,
// kind and flags, an octet each, then hops, size and distance as uvarints.
func redistance(body []byte, size, distance int) []byte {
	_, hops := binary.Uvarint(body[3:])
	at := 3 + hops
	_, n := binary.Uvarint(body[at:])
	_, m := binary.Uvarint(body[at+n:])
	out := append([]byte(nil), body[:at]...)
	out = binary.AppendUvarint(out, uint64(size))
	out = binary.AppendUvarint(out, uint64(distance))
	return append(out, body[at+n+m:]...)
}
