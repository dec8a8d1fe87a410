package smtpserver

import (
	"net"
	"testing"

	"github.com/postern-mail/postern/internal/smtp"
)

// afterTalk holds the greeting back until the client has said its word, so
// that no test depends on who is quicker.
func afterTalk() (said chan struct{}, r *recorder) {
	said = make(chan struct{})
	return said, &recorder{onConnect: func(*Conn) smtp.Reply { <-said; return smtp.Reply{} }}
}

func TestAClientWhoseOctetsAreThereBeforeTheGreetingIsRefused(t *testing.T) {
	said, r := afterTalk()
	s := start(t, Config{}, r)
	c := dial(t, s.addr)
	c.send("EHLO early.example.org\r\nMAIL FROM:<a@b.test>\r\n")
	close(said)
	c.want("554 5.5.0")
	c.wantClosed()
	if n := counted(t, s.tally.cuts[cutEarlyTalk]); n != 1 {
		t.Errorf("early talk is counted %v times", n)
	}
}

func TestAClientThatTalksRightBehindItsPROXYHeaderIsRefused(t *testing.T) {
	s := start(t, Config{ProxyProtocol: true}, nil)
	c := dial(t, s.addr)
	c.send("PROXY TCP4 192.0.2.7 192.0.2.1 4000 25\r\nEHLO early.example.org\r\n")
	c.want("554 5.5.0")
	c.wantClosed()

	said, r := afterTalk()
	s = start(t, Config{ProxyProtocol: true}, r)
	c = dial(t, s.addr)
	c.send("PROXY TCP4 192.0.2.7 192.0.2.1 4000 25\r\n")
	close(said)
	c.want("220")
	c.say("EHLO patient.example.org", "250")
}

func BenchmarkLookForEarlyTalk(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		if hasSpoken(server) {
			b.Fatal("nobody has")
		}
	}
}
