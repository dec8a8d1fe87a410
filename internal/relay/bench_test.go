package relay

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/dns"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtpclient"
)

// BenchmarkDeliver measures one message of 5 KB over a warm lane, to a peer in
// the same process; its allocations are few beside the lane's.
func BenchmarkDeliver(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := l.Accept(); err == nil {
			swallow(conn)
		}
	}()
	r, err := New(Config{Resolver: dns.Split{}, Client: smtpclient.New(smtpclient.Config{})})
	if err != nil {
		b.Fatal(err)
	}
	lane := r.Lane(fixed(l.Addr().(*net.TCPAddr).AddrPort()))
	b.Cleanup(func() { lane.Close(); _ = l.Close(); <-done })
	r.cfg.MaxMessages = b.N + 1
	r.cfg.MaxAge = 1 << 62
	text := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 71)
	content := strings.NewReader(text)
	env, rcpts := mail("bob@example.test"), []int{0}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if got := lane.Deliver(b.Context(), env, rcpts, content, int64(len(text))); got[0].Verdict != envelope.AdviceDelivered {
			b.Fatalf("%+v", got[0])
		}
	}
}

// swallow is a peer that takes everything.
func swallow(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // a test's peer
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	_, _ = io.WriteString(w, "220 sink\r\n")
	for content := false; ; {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case content && len(line) == 3:
			content = false
			_, _ = w.WriteString("250 2.0.0 taken\r\n")
		case content:
		case line[0] == 'E':
			_, _ = w.WriteString("250-sink\r\n250 PIPELINING\r\n")
		case line[0] == 'D':
			content = true
			_, _ = w.WriteString("354 go\r\n")
		default:
			_, _ = w.WriteString("250 2.1.0 ok\r\n")
		}
	}
}
