package smtpserver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/internal/smtp"
)

// sink is the cheapest Handler: it counts octets.
type sink struct{}

func (sink) Connect(context.Context, *Conn) (Session, smtp.Reply) {
	return &sinkSession{}, smtp.Reply{}
}

type sinkSession struct{ octets int }

func (*sinkSession) Hello(context.Context) smtp.Reply { return smtp.Reply{} }
func (*sinkSession) Auth(context.Context, string, string, string, string) smtp.Reply {
	return smtp.Reply{}
}

func (*sinkSession) Mail(context.Context, smtp.Path, smtp.MailParams) smtp.Reply { return smtp.Reply{} }

func (*sinkSession) Rcpt(context.Context, smtp.Path, smtp.RcptParams) smtp.Reply { return smtp.Reply{} }

func (s *sinkSession) Content(context.Context) (Content, smtp.Reply) { return s, smtp.Reply{} }

func (s *sinkSession) Write(p []byte) (int, error) { s.octets += len(p); return len(p), nil }

func (*sinkSession) Commit(context.Context) smtp.Reply { return smtp.Reply{} }
func (*sinkSession) Abort()                            {}
func (*sinkSession) Reset()                            {}
func (*sinkSession) Close()                            {}

// benchMessage is n octets of lines of 76 octets.
func benchMessage(n int) []byte {
	line := strings.Repeat("x", 74) + "\r\n"
	b := bytes.Repeat([]byte(line), n/len(line)+1)[:n-2]
	return append(bytes.TrimRight(b, "\r\n"), "\r\n"...)
}

func startSink(b testing.TB, c Config) string {
	c.Hostname = "mx.example.test"
	srv, err := New(c, sink{})
	if err != nil {
		b.Fatal(err)
	}
	ln, err := Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), ln) }()
	b.Cleanup(func() { _ = srv.Shutdown(context.Background()); <-served })
	return ln.Addr().String()
}

// rawClient speaks SMTP with blocking system calls on one descriptor, so that
// what the benchmark measures is the server.
type rawClient struct {
	fd  int
	buf [4096]byte
}

func (c *rawClient) dial(sa *syscall.SockaddrInet4) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.fd = fd
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	return syscall.Connect(fd, sa)
}

func (c *rawClient) roundTrip(out []byte) error {
	for len(out) > 0 {
		n, err := syscall.Write(c.fd, out)
		if err != nil {
			return err
		}
		out = out[n:]
	}
	_, err := c.reply()
	return err
}

func (c *rawClient) reply() (int, error) {
	n := 0
	for {
		k, err := syscall.Read(c.fd, c.buf[n:])
		if err != nil || k == 0 {
			return n, fmt.Errorf("read: %d, %w", k, err)
		}
		n += k
		if c.buf[n-1] == '\n' {
			break
		}
	}
	if c.buf[0] != '2' && c.buf[0] != '3' {
		return n, fmt.Errorf("reply %q", c.buf[:n])
	}
	return n, nil
}

func sockaddr(addr string) *syscall.SockaddrInet4 {
	a, _ := net.ResolveTCPAddr("tcp4", addr)
	sa := &syscall.SockaddrInet4{Port: a.Port}
	copy(sa.Addr[:], a.IP.To4())
	return sa
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkConnections(b *testing.B, size int, reuse bool) {
	sa := sockaddr(startSink(b, Config{MaxMessages: -1}))
	steps := [][]byte{
		[]byte("MAIL FROM:<sender@example.org>\r\n"), []byte("RCPT TO:<alice@example.test>\r\n"),
		[]byte("DATA\r\n"), append(benchMessage(size), ".\r\n"...),
	}
	var c rawClient
	open := func() {
		if err := c.dial(sa); err != nil {
			b.Fatal(err)
		}
		if _, err := c.reply(); err != nil {
			b.Fatal(err)
		}
		if err := c.roundTrip([]byte("EHLO client.example.org\r\n")); err != nil {
			b.Fatal(err)
		}
	}
	if reuse {
		open()
	}
	b.ReportAllocs()
	b.SetBytes(int64(size))
	before := cpu()
	b.ResetTimer()
	for b.Loop() {
		if !reuse {
			open()
		}
		for _, s := range steps {
			if err := c.roundTrip(s); err != nil {
				b.Fatal(err)
			}
		}
		if !reuse {
			if err := c.roundTrip([]byte("QUIT\r\n")); err != nil {
				b.Fatal(err)
			}
			_ = syscall.Close(c.fd)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	if reuse {
		_ = syscall.Close(c.fd)
	}
}

// BenchmarkFreshConnection5K is one 5 KB message on a connection of its own,
// command by command. Its CPU holds both ends; BenchmarkClientAlone is the
// client's part of it.
func BenchmarkFreshConnection5K(b *testing.B)   { benchmarkConnections(b, 5<<10, false) }
func BenchmarkReusedConnection5K(b *testing.B)  { benchmarkConnections(b, 5<<10, true) }
func BenchmarkReusedConnection50K(b *testing.B) { benchmarkConnections(b, 50<<10, true) }

// scripted is a net.Conn that has all its input ready: the server's own work,
// without the kernel.
type scripted struct {
	net.Conn
	in  bytes.Reader
	out int
}

func (c *scripted) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *scripted) Write(p []byte) (int, error)      { c.out += len(p); return len(p), nil }
func (c *scripted) Close() error                     { return nil }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }
func (c *scripted) LocalAddr() net.Addr              { return nil }
func (c *scripted) RemoteAddr() net.Addr             { return nil }

// BenchmarkSessionWithoutKernel is the same message through a connection in
// memory: what the code of this package costs.
func BenchmarkSessionWithoutKernel(b *testing.B) {
	srv, err := New(Config{Hostname: "mx.example.test"}, sink{})
	if err != nil {
		b.Fatal(err)
	}
	in := []byte("EHLO client.example.org\r\nMAIL FROM:<sender@example.org> SIZE=5120\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
	in = append(in, benchMessage(5<<10)...)
	in = append(in, ".\r\nQUIT\r\n"...)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		c := &scripted{}
		c.in.Reset(in)
		runScripted(srv, c)
	}
}

func runScripted(srv *Server, c net.Conn) { runSession(srv, c, func(*session) {}) }

// runSession runs one session on c in this goroutine, once prepare has seen it.
func runSession(srv *Server, c net.Conn, prepare func(*session)) {
	ss := newSession(srv, c)
	prepare(ss)
	srv.running.Add(1)
	srv.done.Add(1)
	srv.mu.Lock()
	srv.sessions[ss] = struct{}{}
	srv.mu.Unlock()
	ss.run(context.Background())
}

// BenchmarkClientAlone answers the client of the benchmarks above with one
// goroutine that does nothing but read and write, to show what the client and
// the kernel cost without a server.
func BenchmarkClientAlone(b *testing.B) {
	ln, err := Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				var buf [8192]byte
				for _, w := range []string{"220 x\r\n", "250 x\r\n", "250 x\r\n", "250 x\r\n", "354 x\r\n", "250 x\r\n", "221 x\r\n"} {
					if w != "220 x\r\n" {
						if _, err := nc.Read(buf[:]); err != nil {
							return
						}
					}
					if _, err := io.WriteString(nc, w); err != nil {
						return
					}
				}
			}()
		}
	}()
	sa := sockaddr(ln.Addr().String())
	steps := [][]byte{[]byte("E\r\n"), []byte("M\r\n"), []byte("R\r\n"), []byte("D\r\n"), append(benchMessage(5<<10), ".\r\n"...), []byte("Q\r\n")}
	var c rawClient
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		if err := c.dial(sa); err != nil {
			b.Fatal(err)
		}
		if _, err := c.reply(); err != nil {
			b.Fatal(err)
		}
		for _, s := range steps {
			if err := c.roundTrip(s); err != nil {
				b.Fatal(err)
			}
		}
		_ = syscall.Close(c.fd)
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}
