package smtpserver

import (
	"net"
	"testing"
	"time"
)

// TestAClientWithNaglesAlgorithmDoesNotWaitAfterTheHandshake takes the best of
// some tries: a delayed acknowledgement costs each of them 40 ms, a busy
// machine only some.
func TestAClientWithNaglesAlgorithmDoesNotWaitAfterTheHandshake(t *testing.T) {
	server, secure := testTLS(t)
	s := start(t, Config{TLS: server}, nil)
	best := time.Hour
	for range 10 {
		c := dial(t, s.addr)
		if err := c.nc.(*net.TCPConn).SetNoDelay(false); err != nil {
			t.Fatal(err)
		}
		c.want("220")
		c.say("EHLO client.example.org", "250")
		c.say("STARTTLS", "220")
		c.startTLS(secure)
		began := time.Now()
		c.say("EHLO client.example.org", "250")
		best = min(best, time.Since(began))
	}
	if best > 30*time.Millisecond {
		t.Errorf("the first reply under TLS takes %v", best)
	}
}
