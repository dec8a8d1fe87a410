package spool

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

var quiet = slog.New(slog.DiscardHandler)

// testConfig is a small spool: segments of 128 KiB, no reserve of room.
func testConfig(fsys durable.FS, dir string) Config {
	return Config{
		FS: fsys, Dir: dir, Identity: NodeIdentity{Machine: "test", Inode: 1},
		SegmentOctets: 128 << 10, InlineMax: 16 << 10, MinFreeOctets: -1, MinFreeInodes: -1, BallastOctets: -1,
		Logger: quiet,
	}
}

func mustOpen(t testing.TB, cfg Config) (*Spool, *Recovery) {
	t.Helper()
	s, rec, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s, rec
}

func mustClose(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func makeEnvelope(id envelope.ID, tenant string, rcpts int) *envelope.Envelope {
	e := &envelope.Envelope{
		ID: id, Tenant: tenant, Kind: envelope.Inbound,
		Arrival: envelope.Arrival{
			Time: time.Unix(1_700_000_000, 0).UTC(), Client: netip.MustParseAddrPort("192.0.2.1:1234"),
			Server: netip.MustParseAddrPort("[2001:db8::1]:25"), Listener: "mx", Hello: "client.example", Protocol: "ESMTP",
		},
		Reverse: smtp.Path{Local: "sender", Domain: "example.org"},
		Params:  smtp.MailParams{Size: 100, EnvID: "env"},
		Hops:    2,
	}
	for i := range rcpts {
		e.Forward = append(e.Forward, envelope.Recipient{
			Path:   smtp.Path{Local: fmt.Sprintf("rcpt%d", i), Domain: "Example.TEST"},
			Params: smtp.RcptParams{Notify: smtp.NotifyFailure, ORcpt: "rfc822;x@y"},
		})
	}
	return e
}

func makeContent(n int, seed byte) []byte {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func commitOne(s *Spool, content []byte, tenant string, rcpts int) (*envelope.Envelope, error) {
	d, err := s.NewDraft(context.Background())
	if err != nil {
		return nil, err
	}
	if _, err := d.Write(content); err != nil {
		d.Abort()
		return nil, err
	}
	env := makeEnvelope(s.NextID(), tenant, rcpts)
	return env, s.Commit(context.Background(), d, []*envelope.Envelope{env}, nil)
}

func mustCommit(t testing.TB, s *Spool, content []byte, rcpts int) *envelope.Envelope {
	t.Helper()
	env, err := commitOne(s, content, "t1", rcpts)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return env
}

func finish(id envelope.ID, rcpt int) envelope.Change {
	return envelope.Change{ID: id, Recipient: rcpt, To: envelope.Delivered, Attempt: &envelope.Attempt{
		Time: time.Unix(1_700_000_100, 0).UTC(), Duration: time.Second, NextHop: "mx:example.test", Host: "mx1.example.test",
		Peer: netip.MustParseAddrPort("192.0.2.9:25"), Reply: smtp.Reply{Code: 250, Text: []string{"2.0.0 Ok"}},
	}}
}

func deferred(id envelope.ID, rcpt int, next time.Time) envelope.Change {
	c := finish(id, rcpt)
	c.To, c.Cause, c.NextAttempt = envelope.Queued, cause.ConnectTimeout, next
	c.Attempt.Cause = cause.ConnectTimeout
	return c
}

func mustApply(t testing.TB, s *Spool, changes ...envelope.Change) {
	t.Helper()
	if err := s.Apply(context.Background(), changes); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

func readContent(s *Spool, id envelope.ID) ([]byte, error) {
	c, err := s.Content(id)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return b, err
}

func wantContent(t testing.TB, s *Spool, id envelope.ID, want []byte) {
	t.Helper()
	got, err := readContent(s, id)
	if err != nil {
		t.Fatalf("Content(%v): %v", id, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Content(%v): %d octets that differ from the %d committed", id, len(got), len(want))
	}
}

func live(s *Spool) map[envelope.ID]Entry {
	m := map[envelope.ID]Entry{}
	s.Live(func(e Entry) bool {
		e.Recipients = append([]EntryRecipient(nil), e.Recipients...)
		m[e.ID] = e
		return true
	})
	return m
}
