package edge

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/limit"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/spool"
)

// TestTheDoorsShareOfTheMailLogIsTheseLines holds every line that the door may
// write, word for word.
func TestTheDoorsShareOfTheMailLogIsTheseLines(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Connections = limit.NewCount("connections", 1) }, nil)
	ctx := context.Background()
	conn := connection("192.0.2.77:4000", true)
	conn.Session = 7
	s := w.connect(conn)
	if _, r := w.door.Connect(ctx, connection("192.0.2.78:4001", false)); r.Code != 421 {
		t.Fatal(r)
	}
	s.Auth(ctx, "PLAIN", "", "alice", "wrong password")
	s.Auth(ctx, "PLAIN", "", "alice", "secret")
	w.send(s, "bob@one.test", plainContent, "x@other.test")
	w.send(s, "alice@one.test", plainContent, "nobody@one.test")
	w.send(s, "alice@one.test", strings.Repeat("Received: x\r\n", 101)+plainContent, "x@other.test")
	accepted := w.send(s, "alice@one.test", plainContent, "x@other.test", "y@other.test")
	id := strings.TrimPrefix(accepted.String(), "250 2.0.0 OK: queued as ")
	w.door.logDeferred(s.(*session), smtp.NoStorage(), "data", spool.ErrNoRoom)
	s.Close()

	const about = " session=7 listener=smtp peer=192.0.2.77:4000 hello=client.test "
	want := []string{
		"level=INFO msg=refused session=0 listener=smtp peer=192.0.2.78:4001 hello=client.test phase=connect code=421 enhanced=4.3.2",
		"level=INFO msg=refused" + about + "phase=auth code=535 enhanced=5.7.8 user=alice",
		"level=INFO msg=refused" + about + `phase=mail code=553 enhanced=5.7.1 user=alice reverse_path=bob@one.test forward_path=""`,
		"level=INFO msg=refused" + about + "phase=rcpt code=550 enhanced=5.1.1 user=alice reverse_path=alice@one.test forward_path=nobody@one.test",
		"level=INFO msg=refused" + about + "phase=end-of-data code=554 enhanced=5.4.6 user=alice reverse_path=alice@one.test forward_path=x@other.test",
		"level=INFO msg=accepted id=" + id + " session=7 tenant=one peer=192.0.2.77:4000 protocol=ESMTP reverse_path=alice@one.test forward_path=x@other.test recipients=2 octets=176",
		"level=WARN msg=deferred" + about + `phase=data code=452 enhanced=4.3.1 error="` + spool.ErrNoRoom.Error() + `"`,
	}
	got := strings.Split(strings.TrimSpace(w.log.String()), "\n")
	for i := range got {
		_, got[i], _ = strings.Cut(got[i], " ") // the time
	}
	for i := range max(len(got), len(want)) {
		g, x := at(got, i), at(want, i)
		if g != x {
			t.Errorf("line %d is\n%s\nwant\n%s", i, g, x)
		}
	}
}

func at(lines []string, i int) string {
	if i >= len(lines) {
		return "(none)"
	}
	return lines[i]
}

// TestAClientWhoseAddressIsNotKnownIsCalledUnknown: XCLIENT may say so.
func TestAClientWhoseAddressIsNotKnownIsCalledUnknown(t *testing.T) {
	for hello, want := range map[string]string{
		"client.test": "Received: from client.test\r\n\tby gw.test ",
		"":            "Received: from unknown\r\n\tby gw.test ",
	} {
		w := newWorld(t, nil, nil)
		conn := connection("192.0.2.77:1", false)
		conn.Remote, conn.Hello = netip.AddrPort{}, hello
		s := w.connect(conn)
		if r := w.send(s, "x@sender.test", plainContent, "bob@one.test"); r.Code != 250 {
			t.Fatal(r)
		}
		s.Close()
		if _, content := w.stored(w.queue.envs[0].ID); !strings.HasPrefix(content, want) {
			t.Errorf("content begins %.80q, want %q", content, want)
		}
		if log := w.log.String(); !strings.Contains(log, "peer=unknown") || strings.Contains(log, "invalid") {
			t.Errorf("log:\n%s", log)
		}
	}
}
