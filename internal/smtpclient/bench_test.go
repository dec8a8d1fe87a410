package smtpclient

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sinkEnv makes this binary the sink of a benchmark, so that its CPU time is
// not counted as the client's.
const sinkEnv = "POSTERN_TEST_SINK"

// sink takes everything, answers as late as a pipelining server may, and says
// which address it listens on.
func sink() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(os.Stdout, l.Addr().String()+"\n")
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); os.Exit(0) }()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go drain(conn)
	}
}

func drain(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // a test's peer
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	_, _ = w.WriteString("220 sink\r\n")
	for content := false; ; {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case content && bytes.Equal(line, []byte(".\r\n")):
			content = false
			_, _ = w.WriteString("250 2.0.0 taken\r\n")
		case content:
		case bytes.HasPrefix(line, []byte("EHLO")):
			_, _ = w.WriteString("250-sink\r\n250-PIPELINING\r\n250-SIZE\r\n250-" + os.Getenv(sinkEnv) + "\r\n250 8BITMIME\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			content = true
			_, _ = w.WriteString("354 go\r\n")
		case bytes.HasPrefix(line, []byte("BDAT ")):
			n := 0
			for _, c := range line[5:] {
				if c < '0' || c > '9' {
					break
				}
				n = n*10 + int(c-'0')
			}
			if _, err := r.Discard(n); err != nil {
				return
			}
			_, _ = w.WriteString("250 2.0.0 taken\r\n")
		default:
			_, _ = w.WriteString("250 2.1.0 ok\r\n")
		}
	}
}

func startSink(b *testing.B, keyword string) netip.AddrPort {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), sinkEnv+"="+keyword)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return netip.MustParseAddrPort(strings.TrimSpace(line))
}

// cpu is the time that this process has used, user and system.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSend measures one message on a connection that stands: wall time,
// and the client's own CPU time as cpu-us/op.
func BenchmarkSend(b *testing.B) {
	line := strings.Repeat("x", 70) + "\r\n"
	for _, bm := range []struct {
		name, keyword string
		octets        int
		mode          Chunking
	}{
		{"5KB-DATA", "X", 5 << 10, ChunkingWhenSafe},
		{"5KB-BDAT-one-write", "CHUNKING", 5 << 10, ChunkingOneWrite},
		{"50KB-DATA", "X", 50 << 10, ChunkingWhenSafe},
		{"1MB-DATA", "X", 1 << 20, ChunkingWhenSafe},
	} {
		b.Run(bm.name, func(b *testing.B) {
			cl := New(Config{Chunking: bm.mode})
			c, err := cl.Dial(b.Context(), Target{Addr: startSink(b, bm.keyword)})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			m := message(strings.Repeat(line, bm.octets/len(line)), "bob@example.test")
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu(b)
			for range b.N {
				if !c.Reusable() {
					b.Fatal("not reusable")
				}
				if res, err := c.Send(b.Context(), m); err != nil || !res.End.Positive() {
					b.Fatalf("%+v, %v", res, err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/1000/float64(b.N), "cpu-us/op")
		})
	}
}
