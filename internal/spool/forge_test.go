package spool

import (
	"context"
	"testing"

	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
)

// contentAt is where the first content of a batch begins in it.
const contentAt = edgeOctets + recordOctets + 8

func openWeak(t *testing.T, cfg Config, weak bool) (*Spool, *Recovery) {
	t.Helper()
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s, rec, err := open(context.Background(), cfg, weak)
	if err != nil {
		t.Fatal(err)
	}
	return s, rec
}

// enemyBatch is a whole batch that another spool wrote, and the ID in it.
func enemyBatch(t *testing.T, weak bool) ([]byte, envelope.ID) {
	t.Helper()
	m := faultfs.NewMem()
	s, _ := openWeak(t, testConfig(m, "/enemy"), weak)
	for range 20 { // so that its number is above the victim's
		if err := s.barrier(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	off := s.commit.off
	name := s.commit.head.name
	env := mustCommit(t, s, []byte("forged"), 1)
	b := readAll(t, m, name)[off:]
	n := le.Uint32(b[64:])
	mustClose(t, s)
	return b[:n], env.ID
}

// victim commits content and returns the closed spool with its first batch at
// the returned offset.
func victim(t *testing.T, m *faultfs.Mem, content []byte, weak bool) (cfg Config, segment string, off int64, id envelope.ID) {
	t.Helper()
	cfg = testConfig(m, "/data/spool")
	s, _ := openWeak(t, cfg, weak)
	off = s.commit.off
	segment = s.commit.head.name
	env := mustCommit(t, s, content, 1)
	mustClose(t, s)
	removeCheckpoints(t, m, onlyDir(t, m, cfg.Dir))
	return cfg, segment, off, env.ID
}

// attacks are contents made to be taken for records, each with the damage next
// to which it would be.
func attacks(t *testing.T, weak bool) map[string]struct {
	content []byte
	forged  envelope.ID
	damage  func(b []byte)
} {
	t.Helper()
	image, forged := enemyBatch(t, weak)
	type attack = struct {
		content []byte
		forged  envelope.ID
		damage  func(b []byte)
	}
	aligned := append(make([]byte, block-contentAt), image...)
	records := append(make([]byte, 4000-contentAt), image[edgeOctets+padded(8+len("forged")):le.Uint32(image[68:])]...) // the accept
	return map[string]attack{
		"batch image behind a hurt header": {aligned, forged, func(b []byte) { b[20] ^= 1 }},
		"batch image behind a hurt header and trailer": {aligned, forged, func(b []byte) {
			b[20] ^= 1
			b[len(b)-20] ^= 1
		}},
		"records behind a hurt length, without the trailer": {records, forged, func(b []byte) {
			le.PutUint32(b[edgeOctets+4:], 4000-edgeOctets-recordOctets)
			b[len(b)-20] ^= 1
		}},
	}
}

func TestContentCannotForgeRecords(t *testing.T) {
	for name, a := range attacks(t, false) {
		t.Run(name, func(t *testing.T) {
			m := faultfs.NewMem()
			cfg, segment, off, id := victim(t, m, a.content, false)
			damageBatch(t, m, segment, off, a.damage)
			s, rec := openWeak(t, cfg, false)
			for got := range live(s) {
				if got != id {
					t.Errorf("%v was forged", got)
				}
			}
			if _, _, err := s.Envelope(a.forged); err == nil {
				t.Errorf("the forged %v is there", a.forged)
			}
			t.Log(rec.Findings)
			mustClose(t, s)
		})
	}
}

func TestWithoutTheSeedTheSameContentForgesRecords(t *testing.T) {
	for name, a := range attacks(t, true) {
		t.Run(name, func(t *testing.T) {
			m := faultfs.NewMem()
			cfg, segment, off, _ := victim(t, m, a.content, true)
			damageBatch(t, m, segment, off, a.damage)
			s, _ := openWeak(t, cfg, true)
			if _, ok := live(s)[a.forged]; !ok {
				t.Errorf("%v was not forged: the attack is no attack", a.forged)
			}
			_ = s.Close(context.Background())
		})
	}
}

func damageBatch(t *testing.T, m *faultfs.Mem, segment string, off int64, damage func([]byte)) {
	t.Helper()
	b := readAll(t, m, segment)[off:]
	b = b[:le.Uint32(b[64:])]
	damage(b)
	overwrite(t, m, segment, off, b)
}
