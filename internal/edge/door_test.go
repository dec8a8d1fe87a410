package edge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/durable/faultfs"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/limit"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpserver"
	"github.com/postern-mail/postern/internal/spool"
	"github.com/postern-mail/postern/internal/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTenants = `
postmaster: hostmaster@one.test
tenants:
  - id: one
    name: One
    region: eu
    domains:
      - name: one.test
        recipients: [alice, bob, hostmaster]
        next_hop: {hosts: ["192.0.2.1:25"]}
    users:
      - login: alice
        password: "HASH"
        addresses: [alice@one.test]
    trusted_networks: [198.51.100.0/24]
  - id: two
    name: Two
    domains:
      - name: two.test
        any: true
        next_hop: {hosts: ["192.0.2.2:25"]}
`

// heard remembers what the queue was told.
type heard struct {
	mu   sync.Mutex
	envs []*envelope.Envelope
	boom bool
}

func (h *heard) Offer(env *envelope.Envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.envs = append(h.envs, env)
	if h.boom {
		panic("the queue is broken")
	}
}

// world is a door over a spool in memory.
type world struct {
	t     *testing.T
	door  *Door
	spool *spool.Spool
	queue *heard
	log   *bytes.Buffer
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, change func(*Config), fsys durable.FS) *world {
	t.Helper()
	hash, err := tenant.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := tenant.Parse("tenants.yaml", []byte(strings.Replace(testTenants, "HASH", hash, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if fsys == nil {
		fsys = faultfs.NewMem()
	}
	s, _, err := spool.Open(context.Background(), spool.Config{
		FS: fsys, Dir: "/spool", SegmentOctets: 1 << 20, BallastOctets: -1, MinFreeOctets: -1, MinFreeInodes: -1,
		Logger: slog.New(slog.DiscardHandler), Memory: limit.NewOctets("test_octets", 1<<20),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) }) // some tests break its disk
	w := &world{t: t, spool: s, queue: new(heard), log: new(bytes.Buffer)}
	cfg := Config{
		Hostname: "gw.test", Spool: s, Tenants: tenant.NewHolder(snapshot), Passwords: tenant.NewPasswords(tenant.PasswordsConfig{}),
		Queue: w.queue, Trusted: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")},
		Clock: func() time.Time { return noon }, Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	w.door, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func connection(client string, submission bool) *smtpserver.Conn {
	return &smtpserver.Conn{
		Listener: "smtp", Local: netip.MustParseAddrPort("192.0.2.10:25"), Remote: netip.MustParseAddrPort(client),
		Hello: "client.test", ESMTP: true, Submission: submission,
	}
}

func (w *world) connect(conn *smtpserver.Conn) smtpserver.Session {
	w.t.Helper()
	s, reply := w.door.Connect(context.Background(), conn)
	if !reply.IsZero() {
		w.t.Fatalf("not admitted: %s", reply)
	}
	return s
}

func path(t *testing.T, text string) smtp.Path {
	t.Helper()
	if text == "" {
		return smtp.Path{}
	}
	p, err := smtp.ParseMailbox(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// send runs one transaction and returns the first reply that refuses, or the
// reply to end-of-data.
func (w *world) send(s smtpserver.Session, from, content string, to ...string) smtp.Reply {
	w.t.Helper()
	ctx := context.Background()
	defer s.Reset()
	if r := s.Mail(ctx, path(w.t, from), smtp.MailParams{}); !r.IsZero() {
		return r
	}
	for _, rcpt := range to {
		if r := s.Rcpt(ctx, path(w.t, rcpt), smtp.RcptParams{}); !r.IsZero() {
			return r
		}
	}
	c, r := s.Content(ctx)
	if !r.IsZero() {
		return r
	}
	if _, err := io.WriteString(c, content); err != nil {
		w.t.Fatalf("write: %v", err)
	}
	return c.Commit(ctx)
}

// stored returns what the spool holds of a message.
func (w *world) stored(id envelope.ID) (*envelope.Envelope, string) {
	w.t.Helper()
	env, _, err := w.spool.Envelope(id)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := w.spool.Content(id)
	if err != nil {
		w.t.Fatal(err)
	}
	octets := make([]byte, c.Size())
	if _, err := c.ReadAt(octets, 0); err != nil && !errors.Is(err, io.EOF) {
		w.t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		w.t.Fatal(err)
	}
	return env, string(octets)
}

const plainContent = "From: a@sender.test\r\nSubject: x\r\n\r\nHello\r\n"

func TestAMessageIsInTheSpoolWithItsTraceFieldWhenItIsAcknowledged(t *testing.T) {
	w := newWorld(t, nil, nil)
	s := w.connect(connection("192.0.2.77:4000", false))
	defer s.Close()
	reply := w.send(s, "someone@sender.test", plainContent, "Alice@ONE.test")
	if len(w.queue.envs) != 1 {
		t.Fatalf("reply %s, the queue heard of %d messages", reply, len(w.queue.envs))
	}
	id := w.queue.envs[0].ID
	if got := reply.String(); got != "250 2.0.0 OK: queued as "+id.String() {
		t.Errorf("reply %q", got)
	}
	env, content := w.stored(id)
	want := "Received: from client.test ([192.0.2.77])\r\n\tby gw.test with ESMTP\r\n\tid " + id.String() +
		"\r\n\tfor <Alice@ONE.test>;\r\n\tMon, 04 May 2026 12:00:00 +0000\r\n" + plainContent
	if content != want {
		t.Errorf("content\n%s\nwant\n%s", content, want)
	}
	if env.Tenant != "one" || env.Region != "eu" || env.Kind != envelope.Inbound || env.Size != int64(len(want)) ||
		env.Arrival.Client.String() != "192.0.2.77:4000" || env.Hops != 0 || env.EightBit || env.UTF8 {
		t.Errorf("envelope %+v", env)
	}
	if log := w.log.String(); strings.Count(log, "msg=accepted") != 1 || !strings.Contains(log, id.String()) {
		t.Errorf("log:\n%s", log)
	}
}

func TestWhoMayWriteToWhom(t *testing.T) {
	const stranger, tenants, nodes, loopback = "192.0.2.77:1", "198.51.100.9:1", "203.0.113.9:1", "127.0.0.1:1"
	for _, c := range []struct {
		name, client, login string
		submission          bool
		from                string
		to                  []string
		want                string
		kind                envelope.Kind
		owners              []string
	}{
		{name: "ours", client: stranger, from: "x@sender.test", to: []string{"bob@one.test"}, want: "250 2.0.0", kind: envelope.Inbound, owners: []string{"one"}},
		{name: "unknown user", client: stranger, from: "x@sender.test", to: []string{"nobody@one.test"}, want: "550 5.1.1"},
		{name: "any user", client: stranger, from: "x@sender.test", to: []string{"whoever@two.test"}, want: "250 2.0.0", kind: envelope.Inbound, owners: []string{"two"}},
		{name: "roles", client: stranger, from: "x@sender.test", to: []string{"postmaster@one.test", "ABUSE@one.test"}, want: "250 2.0.0", kind: envelope.Inbound, owners: []string{"one"}},
		{name: "bare postmaster", client: stranger, from: "", to: []string{"postmaster"}, want: "250 2.0.0", kind: envelope.Inbound, owners: []string{"one"}},
		{name: "relay", client: stranger, from: "x@sender.test", to: []string{"x@other.test"}, want: "550 5.7.1"},
		{name: "loopback is not trusted", client: loopback, from: "x@sender.test", to: []string{"x@other.test"}, want: "550 5.7.1"},
		{name: "null reverse-path", client: stranger, from: "", to: []string{"bob@one.test", "alice@one.test"}, want: "250 2.0.0", kind: envelope.Inbound, owners: []string{"one"}},
		{name: "two tenants", client: stranger, from: "x@sender.test", to: []string{"a@two.test", "bob@one.test", "b@two.test"}, want: "250 2.0.0", kind: envelope.Inbound, owners: []string{"two", "one"}},

		{name: "tenant's network", client: tenants, from: "app@one.test", to: []string{"x@other.test"}, want: "250 2.0.0", kind: envelope.Trusted, owners: []string{"one"}},
		{name: "tenant's network, unknown user of ours", client: tenants, from: "app@one.test", to: []string{"nobody@one.test"}, want: "550 5.1.1"},
		{name: "tenant's network, mapped", client: "[::ffff:198.51.100.9]:1", from: "app@one.test", to: []string{"x@other.test"}, want: "250 2.0.0", kind: envelope.Trusted, owners: []string{"one"}},
		{name: "node's network, reverse-path of ours", client: nodes, from: "app@two.test", to: []string{"x@other.test"}, want: "250 2.0.0", kind: envelope.Trusted, owners: []string{"two"}},
		{name: "node's network, foreign reverse-path", client: nodes, from: "app@sender.test", to: []string{"x@other.test"}, want: "250 2.0.0", kind: envelope.Trusted, owners: []string{""}},

		{name: "submission without AUTH", client: stranger, submission: true, from: "alice@one.test", to: []string{"x@other.test"}, want: "530 5.7.0"},
		{name: "submission, trusted network without AUTH", client: nodes, submission: true, from: "alice@one.test", to: []string{"x@other.test"}, want: "530 5.7.0"},
		{name: "submission", client: stranger, submission: true, login: "alice", from: "alice@one.test", to: []string{"x@other.test", "y@two.test"}, want: "250 2.0.0", kind: envelope.Submitted, owners: []string{"one", "two"}},
		{name: "submission, not her own", client: stranger, submission: true, login: "alice", from: "bob@one.test", to: []string{"x@other.test"}, want: "55"},
		{name: "submission, null reverse-path", client: stranger, submission: true, login: "alice", from: "", to: []string{"x@other.test"}, want: "250 2.0.0", kind: envelope.Submitted, owners: []string{"one"}},
		{name: "submission, null reverse-path to many", client: stranger, submission: true, login: "alice", from: "", to: []string{"x@other.test", "y@other.test"}, want: "452 4.5.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, nil)
			s := w.connect(connection(c.client, c.submission))
			defer s.Close()
			if c.login != "" {
				if r := s.Auth(context.Background(), "PLAIN", "", c.login, "secret"); !r.IsZero() {
					t.Fatalf("AUTH: %s", r)
				}
			}
			reply := w.send(s, c.from, plainContent, c.to...)
			if !strings.HasPrefix(reply.String(), c.want) {
				t.Fatalf("%s; want %s", reply, c.want)
			}
			var owners []string
			for _, env := range w.queue.envs {
				owners = append(owners, env.Tenant)
				if stored, _ := w.stored(env.ID); stored.Kind != c.kind || stored.Arrival.User != c.login {
					t.Errorf("%+v", stored)
				}
			}
			if !slices.Equal(owners, c.owners) {
				t.Errorf("owners %q; want %q", owners, c.owners)
			}
		})
	}
}

func TestAWrongPasswordAnotherIdentityAndAnUnknownLoginAreNotToldApart(t *testing.T) {
	w := newWorld(t, nil, nil)
	s := w.connect(connection("192.0.2.77:1", true))
	defer s.Close()
	for _, c := range [][3]string{{"", "alice", "wrong"}, {"bob", "alice", "secret"}, {"", "nobody", "secret"}, {"", "", ""}} {
		if r := s.Auth(context.Background(), "LOGIN", c[0], c[1], c[2]); r.String() != smtp.AuthFailed().String() {
			t.Errorf("%q: %s", c, r)
		}
	}
	if strings.Contains(w.log.String(), "secret") {
		t.Errorf("a password is in the log:\n%s", w.log)
	}
}

func TestTheEnvelopeIsSplitAndNoTenantSeesAnothersRecipients(t *testing.T) {
	w := newWorld(t, nil, nil)
	s := w.connect(connection("192.0.2.77:1", false))
	defer s.Close()
	w.send(s, "x@sender.test", plainContent, "bob@one.test", "a@two.test", "alice@one.test")
	if len(w.queue.envs) != 2 || w.queue.envs[0].ID == w.queue.envs[1].ID {
		t.Fatalf("envelopes %+v", w.queue.envs)
	}
	one, content := w.stored(w.queue.envs[0].ID)
	two, same := w.stored(w.queue.envs[1].ID)
	if len(one.Forward) != 2 || len(two.Forward) != 1 || two.Forward[0].Path.Domain != "two.test" {
		t.Errorf("split: %+v and %+v", one.Forward, two.Forward)
	}
	if content != same || strings.Contains(content, "@one.test") || strings.Contains(content, "@two.test") {
		t.Errorf("content:\n%s", content)
	}
}

func TestALoopIsRefusedAndNothingIsKept(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxHops = 3 }, nil)
	s := w.connect(connection("192.0.2.77:1", false))
	defer s.Close()
	hop := "Received: from a by b; Mon, 04 May 2026 12:00:00 +0000\r\n"
	if r := w.send(s, "x@sender.test", strings.Repeat(hop, 3)+plainContent, "bob@one.test"); r.Code != 250 {
		t.Errorf("3 hops: %s", r)
	}
	if r := w.send(s, "x@sender.test", strings.Repeat(hop, 4)+plainContent, "bob@one.test"); !strings.HasPrefix(r.String(), "554 5.4.6") {
		t.Errorf("4 hops: %s", r)
	}
	if len(w.queue.envs) != 1 || w.queue.envs[0].Hops != 3 {
		t.Errorf("kept %+v", w.queue.envs)
	}
}

func TestWhatContentAndPathsNeedIsOnTheEnvelope(t *testing.T) {
	w := newWorld(t, nil, nil)
	s := w.connect(connection("192.0.2.77:1", false))
	defer s.Close()
	for _, c := range []struct {
		content, to    string
		eightBit, utf8 bool
	}{
		{plainContent, "bob@one.test", false, false},
		{plainContent + "caf\xc3\xa9\r\n", "bob@one.test", true, false},
		{"Subject: caf\xc3\xa9\r\n" + plainContent, "bob@one.test", true, true},
		{plainContent, "zo\u00eb@two.test", false, true},
	} {
		w.send(s, "x@sender.test", c.content, c.to)
		env := w.queue.envs[len(w.queue.envs)-1]
		if env.EightBit != c.eightBit || env.UTF8 != c.utf8 {
			t.Errorf("%q to %s: eightBit %t, utf8 %t", c.content, c.to, env.EightBit, env.UTF8)
		}
	}
}

func TestTheSnapshotOfMAILDecidesTheWholeTransaction(t *testing.T) {
	w := newWorld(t, nil, nil)
	s := w.connect(connection("192.0.2.77:1", false))
	defer s.Close()
	ctx := context.Background()
	s.Mail(ctx, path(t, "x@sender.test"), smtp.MailParams{})
	w.door.cfg.Tenants.Swap(new(tenant.Snapshot))
	if r := s.Rcpt(ctx, path(t, "bob@one.test"), smtp.RcptParams{}); !r.IsZero() {
		t.Errorf("in the old transaction: %s", r)
	}
	s.Reset()
	s.Mail(ctx, path(t, "x@sender.test"), smtp.MailParams{})
	if r := s.Rcpt(ctx, path(t, "bob@one.test"), smtp.RcptParams{}); r.Code != 550 {
		t.Errorf("in a new transaction: %s", r)
	}
}

func TestSessionsAreBoundedInAllAndPerNetworkAndGivenBack(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Connections = limit.NewCount("test_total", 3)
		c.Networks = limit.NewNetworks("test_networks", 2, 24, 64)
	}, nil)
	ctx := context.Background()
	first, second := w.connect(connection("192.0.2.1:1", false)), w.connect(connection("192.0.2.2:1", false))
	if _, r := w.door.Connect(ctx, connection("192.0.2.3:1", false)); !strings.HasPrefix(r.String(), "421 4.7.0") {
		t.Errorf("third of a network: %s", r)
	}
	third := w.connect(connection("198.51.100.1:1", false))
	if _, r := w.door.Connect(ctx, connection("203.0.113.1:1", false)); r.Code != 421 {
		t.Errorf("fourth in all: %s", r)
	}
	for _, s := range []smtpserver.Session{first, second, third} {
		s.Close()
	}
	if n, m := w.door.cfg.Connections.InUse(), w.door.cfg.Networks.InUse(); n != 0 || m != 0 {
		t.Errorf("%d and %d are still taken", n, m)
	}
}

func TestAPanicAfterTheCommitIsStillAnAcknowledgement(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.queue.boom = true
	s := w.connect(connection("192.0.2.77:1", false))
	defer s.Close()
	if r := w.send(s, "x@sender.test", plainContent, "bob@one.test"); r.Code != 250 {
		t.Errorf("reply %s", r)
	}
	if !strings.Contains(w.log.String(), "door panic") {
		t.Errorf("log:\n%s", w.log)
	}
}
