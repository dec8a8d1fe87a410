package bounce

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

// fakeStore remembers what was asked of it.
type fakeStore struct {
	seq       uint64
	content   string
	unread    error
	failure   error
	committed []*envelope.Envelope
	reports   []string
	changes   []envelope.Change
	statuses  []envelope.Status
}

func (s *fakeStore) NextID() envelope.ID {
	s.seq++
	return envelope.NewID(envelope.Incarnation{1}, s.seq)
}

func (s *fakeStore) Commit(_ context.Context, content []byte, env *envelope.Envelope, changes []envelope.Change) error {
	if s.failure != nil {
		return s.failure
	}
	s.committed = append(s.committed, env)
	s.reports = append(s.reports, string(content))
	s.changes = append(s.changes, changes...)
	return nil
}

func (s *fakeStore) Apply(_ context.Context, changes []envelope.Change) error {
	if s.failure != nil {
		return s.failure
	}
	s.changes = append(s.changes, changes...)
	return nil
}

func (s *fakeStore) Envelope(envelope.ID) (*envelope.Envelope, []envelope.Status, error) {
	return nil, s.statuses, nil
}

type memory struct{ *strings.Reader }

func (memory) Close() error { return nil }

func (s *fakeStore) Content(envelope.ID) (Content, error) {
	if s.unread != nil {
		return nil, s.unread
	}
	return memory{strings.NewReader(s.content)}, nil
}

func newBouncer(t *testing.T, change func(*Config)) (*Bouncer, *fakeStore, *[]*envelope.Envelope) {
	t.Helper()
	store := &fakeStore{seq: 100, content: "Subject: lunch\r\n\r\nAt noon?\r\n"}
	var offered []*envelope.Envelope
	cfg := Config{
		Store: store, Hostname: "mx.example.net", Logger: slog.New(slog.DiscardHandler),
		Offer: func(env *envelope.Envelope) { offered = append(offered, env) },
	}
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b, store, &offered
}

// message has one recipient for each NOTIFY given.
func message(kind envelope.Kind, reverse string, notify ...smtp.Notify) *envelope.Envelope {
	env := &envelope.Envelope{
		ID: envelope.NewID(envelope.Incarnation{1}, 7), Tenant: "t1", Region: "eu", Kind: kind,
		Arrival: envelope.Arrival{Time: time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)},
	}
	if reverse != "" {
		env.Reverse, _ = smtp.ParseMailbox(reverse)
	}
	for _, n := range notify {
		env.Forward = append(env.Forward, envelope.Recipient{
			Path: smtp.Path{Local: "bob", Domain: "b.test"}, Params: smtp.RcptParams{Notify: n},
		})
	}
	return env
}

func ended(env *envelope.Envelope, to ...envelope.State) []envelope.Change {
	var out []envelope.Change
	for i, s := range to {
		c := envelope.Change{ID: env.ID, Recipient: i, To: s, Attempt: &envelope.Attempt{Host: "mx.b.test"}}
		if s == envelope.Bounced {
			c.Cause = cause.PeerRcpt5xx
			c.Attempt.Cause, c.Attempt.Reply = c.Cause, smtp.Reply{Code: 550, Text: []string{"no such user"}}
		}
		out = append(out, c)
	}
	return out
}

func states(changes []envelope.Change) []envelope.State {
	var out []envelope.State
	for _, c := range changes {
		out = append(out, c.To)
	}
	return out
}

func TestARemoteServerIsNamedOnlyWhereOneWasReached(t *testing.T) {
	for _, reached := range []bool{true, false} {
		b, store, _ := newBouncer(t, nil)
		env := message(envelope.Submitted, "alice@example.org", 0)
		changes := ended(env, envelope.Bounced)
		if reached {
			changes[0].Attempt.Peer = netip.MustParseAddrPort("192.0.2.1:25")
		}
		if err := b.Report(t.Context(), env, changes); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(store.reports[0]), "Remote-MTA: dns; mx.b.test"); got != reached {
			t.Errorf("reached %t, named %t:\n%s", reached, got, store.reports[0])
		}
	}
}

func TestWhoIsTold(t *testing.T) {
	const b, d, sup = envelope.Bounced, envelope.Delivered, envelope.DSNSuppressed
	for _, c := range []struct {
		name    string
		kind    envelope.Kind
		reverse string
		notify  smtp.Notify
		ends    envelope.State
		want    envelope.State
		told    bool
	}{
		{"submission", envelope.Submitted, "a@a.test", 0, b, b, true},
		{"trusted network", envelope.Trusted, "a@a.test", 0, b, b, true},
		{"NOTIFY=FAILURE", envelope.Submitted, "a@a.test", smtp.NotifyFailure | smtp.NotifyDelay, b, b, true},
		{"NOTIFY=NEVER", envelope.Submitted, "a@a.test", smtp.NotifyNever, b, sup, false},
		{"NOTIFY=SUCCESS only", envelope.Submitted, "a@a.test", smtp.NotifySuccess, b, sup, false},
		{"null reverse-path", envelope.Submitted, "", 0, b, sup, false},
		{"a stranger's mail", envelope.Inbound, "a@a.test", 0, b, sup, false},
		{"a stranger who asks", envelope.Inbound, "a@a.test", smtp.NotifyFailure, b, sup, false},
		{"a report", envelope.Report, "", 0, b, sup, false},
		{"a report with a reverse-path", envelope.Report, "a@a.test", 0, b, sup, false},
		{"relayed, asked", envelope.Submitted, "a@a.test", smtp.NotifySuccess, d, d, true},
		{"relayed, not asked", envelope.Submitted, "a@a.test", 0, d, d, false},
		{"relayed, a stranger asks", envelope.Inbound, "a@a.test", smtp.NotifySuccess, d, d, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bouncer, store, offered := newBouncer(t, nil)
			env := message(c.kind, c.reverse, c.notify)
			given := ended(env, c.ends)
			if err := bouncer.Report(t.Context(), env, given); err != nil {
				t.Fatal(err)
			}
			if got := states(store.changes); !slices.Equal(got, []envelope.State{c.want}) {
				t.Errorf("changed to %v, want %v", got, c.want)
			}
			if told := len(*offered) == 1; told != c.told || len(store.reports) != len(*offered) {
				t.Errorf("told: %v (%d committed), want %v", told, len(store.reports), c.told)
			}
			if given[0].To != c.ends || !given[0].Report.IsZero() {
				t.Error("the caller's changes were written to")
			}
		})
	}
}

func TestRecipientsThatEndTogetherShareOneReport(t *testing.T) {
	bouncer, store, offered := newBouncer(t, nil)
	env := message(envelope.Submitted, "alice@example.test", 0, smtp.NotifyNever, smtp.NotifySuccess, 0)
	env.Params.Ret, env.Params.EnvID = smtp.RetFull, "e1"
	given := ended(env, envelope.Bounced, envelope.Bounced, envelope.Delivered, envelope.Bounced)
	if err := bouncer.Report(t.Context(), env, given); err != nil {
		t.Fatal(err)
	}
	if len(store.committed) != 1 || len(*offered) != 1 {
		t.Fatalf("%d reports, %d offered", len(store.committed), len(*offered))
	}
	want := []envelope.State{envelope.Bounced, envelope.DSNSuppressed, envelope.Delivered, envelope.Bounced}
	if got := states(store.changes); !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
	r := store.committed[0]
	if r.Kind != envelope.Report || !r.Reverse.IsNull() || r.Parent != env.ID || r.Tenant != "t1" || r.Region != "eu" ||
		len(r.Forward) != 1 || r.Forward[0].Path != env.Reverse || r.Size != int64(len(store.reports[0])) || r.Arrival.Time.IsZero() {
		t.Errorf("report %+v", r)
	}
	for i, c := range store.changes {
		if bounced := c.To == envelope.Bounced; bounced != (c.Report == r.ID) || !bounced && !c.Report.IsZero() {
			t.Errorf("change %d names report %v", i, c.Report)
		}
	}
	msg, err := mail.ReadMessage(strings.NewReader(store.reports[0]))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	var status bytes.Buffer
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for range 2 {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		status.Reset()
		if _, err := status.ReadFrom(p); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(status.String(), "Action: failed\r\n"); n != 2 {
		t.Errorf("%d failed in\n%s", n, status.String())
	}
	if n := strings.Count(status.String(), "Action: relayed\r\n"); n != 1 || !strings.Contains(status.String(), "Original-Envelope-Id: e1\r\n") {
		t.Errorf("%d relayed in\n%s", n, status.String())
	}
	if !strings.Contains(store.reports[0], "At noon?") {
		t.Error("RET=FULL, and the message is not returned")
	}
}

func TestACommitThatFailsChangesNothing(t *testing.T) {
	bouncer, store, offered := newBouncer(t, nil)
	store.failure = errors.New("disk failed")
	env := message(envelope.Submitted, "a@a.test", 0)
	if err := bouncer.Report(t.Context(), env, ended(env, envelope.Bounced)); !errors.Is(err, store.failure) {
		t.Errorf("error %v", err)
	}
	stranger := message(envelope.Inbound, "a@a.test", 0)
	if err := bouncer.Report(t.Context(), stranger, ended(stranger, envelope.Bounced)); !errors.Is(err, store.failure) {
		t.Errorf("error %v", err)
	}
	if len(*offered) != 0 {
		t.Error("a report that was not committed was offered")
	}
}

func TestAReportGoesWithoutAnOriginalThatCantBeRead(t *testing.T) {
	bouncer, store, _ := newBouncer(t, nil)
	store.unread = errors.New("damaged")
	env := message(envelope.Submitted, "a@a.test", 0)
	if err := bouncer.Report(t.Context(), env, ended(env, envelope.Bounced)); err != nil {
		t.Fatal(err)
	}
	if len(store.reports) != 1 || strings.Contains(store.reports[0], "rfc822-headers") {
		t.Errorf("reports %q", store.reports)
	}
}

func TestAnExpiryWithoutAttemptNamesTheLastTrouble(t *testing.T) {
	bouncer, store, _ := newBouncer(t, nil)
	store.statuses = []envelope.Status{{Cause: cause.ConnectTimeout}}
	env := message(envelope.Submitted, "a@a.test", 0)
	given := []envelope.Change{{ID: env.ID, To: envelope.Bounced, Cause: cause.Expired}}
	if err := bouncer.Report(t.Context(), env, given); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Status: 4.4.7\r\n", "did not answer"} {
		if !strings.Contains(store.reports[0], want) {
			t.Errorf("no %q in\n%s", want, store.reports[0])
		}
	}
}

func TestReportsAreBoundedInNumber(t *testing.T) {
	now := time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	registry := prometheus.NewRegistry()
	bouncer, store, _ := newBouncer(t, func(c *Config) {
		c.PerReverse, c.Total, c.Clock, c.Metrics = 3, 5, func() time.Time { return now }, registry
	})
	send := func(reverse string) envelope.State {
		env := message(envelope.Submitted, reverse, 0)
		store.changes = nil
		if err := bouncer.Report(t.Context(), env, ended(env, envelope.Bounced)); err != nil {
			t.Fatal(err)
		}
		return store.changes[0].To
	}
	var got []envelope.State
	for range 4 {
		got = append(got, send("a@a.test"))
	}
	for range 3 {
		got = append(got, send("b@b.test"))
	}
	const b, s = envelope.Bounced, envelope.DSNSuppressed
	if !slices.Equal(got, []envelope.State{b, b, b, s, b, b, s}) {
		t.Errorf("ended as %v", got)
	}
	now = now.Add(time.Hour)
	if st := send("a@a.test"); st != b {
		t.Errorf("an hour later: %v", st)
	}
	if families, err := registry.Gather(); err != nil || len(families) != 3 {
		t.Errorf("%d metrics, %v", len(families), err)
	}
	if n := bouncer.counter.suppressed[reasonNumber("rate")].Load(); n != 2 {
		t.Errorf("%d suppressed by rate", n)
	}
}

func TestAReportToAnInternationalAddressNeedsSMTPUTF8(t *testing.T) {
	bouncer, store, _ := newBouncer(t, nil)
	env := message(envelope.Submitted, "jürgen@müller.test", 0)
	env.Params.SMTPUTF8 = true
	if err := bouncer.Report(t.Context(), env, ended(env, envelope.Bounced)); err != nil {
		t.Fatal(err)
	}
	if r := store.committed[0]; !r.UTF8 || !r.Params.SMTPUTF8 || !r.EightBit || r.Params.Body != smtp.Body8BitMIME {
		t.Errorf("report %+v", r)
	}
}
