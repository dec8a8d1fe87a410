package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/postern-mail/postern/internal/smtpwire"
)

func TestOverLongCommandsEndTheSessionOrTheCommand(t *testing.T) {
	server, secure := testTLS(t)
	s := start(t, Config{Submission: true, AuthOptional: true, TLS: server}, nil)
	c := dial(t, s.addr)
	c.want("220")
	c.say("STARTTLS", "220")
	c.startTLS(secure)
	c.say("EHLO c", "250")
	c.say("NOOP "+strings.Repeat("x", 512-5-2), "250")
	c.say("NOOP "+strings.Repeat("x", 512-5-1), "500 5.5.2")
	envid := "MAIL FROM:<a@b.test> SIZE=1" // a MAIL of 2,048 octets is read, and judged
	c.say(envid+strings.Repeat(" ", 2046-len(envid)), "250")
	c.say("RSET", "250")
	c.say("MAIL FROM:<a@b.test>"+strings.Repeat("x", 2046-20), "501 5.1.7")
	c.say("AUTH PLAIN", "334")
	c.say(strings.Repeat("A", 3000), "500 5.5.6")
	c.wantClosed()
	c = dial(t, s.addr)
	c.want("220")
	c.say(strings.Repeat("x", 2047), "500 5.5.2")
	c.wantClosed()
}

// TestManySessionsAtOnce sends messages of all sizes from many clients, by
// DATA and by BDAT, and wants each kept once and whole.
func TestManySessionsAtOnce(t *testing.T) {
	s := start(t, Config{}, &recorder{anyone: true})
	const clients, each = 16, 12
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			if err := sendMany(s.addr, n, each); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, m := range s.rec.got() {
		name := m.from.Local
		if seen[name] || m.content != loadContent(name) {
			t.Errorf("%s: twice, or %d octets not as sent", name, len(m.content))
		}
		seen[name] = true
	}
	if len(seen) != clients*each {
		t.Errorf("%d messages, want %d", len(seen), clients*each)
	}
}

// loadContent is content whose size and dots depend on its name.
func loadContent(name string) string {
	n := 0
	for _, c := range name {
		n = n*31 + int(c)
	}
	return "Subject: " + name + "\r\n\r\n" + strings.Repeat(".line "+name+"\r\n.\r\n", n%4000)
}

func sendMany(addr string, client, messages int) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	rd := smtpwire.NewReader(nc, new(smtpwire.Buffers), smtpwire.Reject)
	defer rd.Close()
	exchange := func(out string, codes ...int) error {
		if _, err := nc.Write([]byte(out)); err != nil {
			return err
		}
		for _, code := range codes {
			if r, err := rd.ReadReply(); err != nil || r.Code != code {
				return fmt.Errorf("client %d: %.40q: %v, %w", client, out, r, err)
			}
		}
		return nil
	}
	if err := exchange("", 220); err != nil {
		return err
	}
	if err := exchange("EHLO c\r\n", 250); err != nil {
		return err
	}
	for i := range messages {
		name := fmt.Sprintf("m%d.%d", client, i)
		content := loadContent(name)
		envelope := "MAIL FROM:<" + name + "@b.test>\r\nRCPT TO:<c@d.test>\r\n"
		if i%2 == 0 {
			half := len(content) / 3
			err = exchange(fmt.Sprintf("%sBDAT %d\r\n%sBDAT %d LAST\r\n%s", envelope, half, content[:half], len(content)-half, content[half:]), 250, 250, 250, 250)
		} else if err = exchange(envelope+"DATA\r\n", 250, 250, 354); err == nil {
			var e smtpwire.Encoder
			err = exchange(string(e.End(e.Append(nil, []byte(content)))), 250)
		}
		if err != nil {
			return err
		}
	}
	return exchange("QUIT\r\n", 221)
}

// poor is a listener that is out of descriptors once.
type poor struct {
	net.Listener
	once sync.Once
}

func (l *poor) Accept() (net.Conn, error) {
	var err error
	l.once.Do(func() { err = &net.OpError{Op: "accept", Err: syscall.EMFILE} })
	if err != nil {
		return nil, err
	}
	return l.Listener.Accept()
}

func TestServingOutlivesAWantOfDescriptors(t *testing.T) {
	ln, err := Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, err := New(Config{Hostname: "mx.example.test"}, sink{})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), &poor{Listener: ln}) }()
	dial(t, ln.Addr().String()).want("220")
	_ = ln.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener that is gone: %v", err)
	}
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
