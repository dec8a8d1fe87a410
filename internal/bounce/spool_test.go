package bounce

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/spool"
)

func openSpool(t *testing.T, dir string) *spool.Spool {
	t.Helper()
	s, rec, err := spool.Open(t.Context(), spool.Config{
		FS: durable.OS(), Dir: dir, SegmentOctets: 4 << 20, BallastOctets: -1, MinFreeOctets: -1, MinFreeInodes: -1,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if rec.Hurt() {
		t.Fatalf("hurt: %+v", rec.Findings)
	}
	return s
}

func closeSpool(t *testing.T, s *spool.Spool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestAReportAndWhatItReportsAreInTheSpoolTogether(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := openSpool(t, dir)
	d, err := s.NewDraft(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte("Subject: lunch\r\n\r\nAt noon?\r\n")); err != nil {
		t.Fatal(err)
	}
	env := message(envelope.Submitted, "alice@example.test", 0, smtp.NotifyNever, 0)
	env.ID = s.NextID()
	env.Arrival.Time = time.Now().UTC()
	if err := s.Commit(t.Context(), d, []*envelope.Envelope{env}, nil); err != nil {
		t.Fatal(err)
	}
	var report *envelope.Envelope
	b, err := New(Config{
		Store: OfSpool(s), Hostname: "mx.example.net", Logger: slog.New(slog.DiscardHandler),
		Offer: func(env *envelope.Envelope) { report = env },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Report(t.Context(), env, ended(env, envelope.Bounced, envelope.Bounced)); err != nil {
		t.Fatal(err)
	}
	closeSpool(t, s)

	s = openSpool(t, dir) // what Commit made durable is all there is now
	defer closeSpool(t, s)
	_, statuses, err := s.Envelope(env.ID)
	if err != nil {
		t.Fatal(err)
	}
	if statuses[0].State != envelope.Bounced || statuses[1].State != envelope.DSNSuppressed || statuses[2].State != envelope.Queued {
		t.Errorf("statuses %+v", statuses)
	}
	got, _, err := s.Envelope(report.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != envelope.Report || got.Parent != env.ID || !got.Reverse.IsNull() || got.Forward[0].Path != env.Reverse {
		t.Errorf("report %+v", got)
	}
	c, err := s.Content(report.ID)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), "Subject: lunch\r\n") || got.Size != int64(len(content)) {
		t.Errorf("content of %d octets, size %d", len(content), got.Size)
	}
	ledger := s.Ledger()
	if total := ledger.Total(); total.Difference() != 0 || total.Sources[envelope.Report] != 1 || total.Terminal[envelope.Bounced] != 1 {
		t.Errorf("ledger %+v", total)
	}
}
