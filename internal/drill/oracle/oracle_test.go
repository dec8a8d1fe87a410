package oracle

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func newSink(t *testing.T, cfg SinkConfig) *Sink {
	t.Helper()
	s, err := NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestEveryStyleArrivesIntact(t *testing.T) {
	s := newSink(t, SinkConfig{})
	rng := rand.New(rand.NewPCG(1, 2))
	var log Log
	for _, size := range []int{0, 300, 5000, 300_000} {
		for style := Lockstep; style <= Chunked; style++ {
			c, err := Dial(context.Background(), s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			id := strings.Join([]string{"m", string(rune('a' + style)), string(rune('0' + size%7))}, "")
			m := Compose(id, "from@drill.test", []string{id + ".0@drill.test", id + ".1@drill.test"}, size, rng)
			if r, err := log.SendOne(c, m, style); err != nil || r.Code != 250 {
				t.Fatalf("%v octets, style %v: %v %v", size, style, r, err)
			}
			c.Quit()
		}
	}
	v := Judge(log.All(), s.Arrivals(), nil)
	if v.Delivered != 24 || len(v.Lost)+len(v.Damaged)+len(v.Strangers)+v.Duplicates != 0 {
		t.Fatalf("%+v", v)
	}
}

func TestOnlyALenientSinkTakesALookalike(t *testing.T) {
	for _, lenient := range []bool{false, true} {
		s := newSink(t, SinkConfig{Lenient: lenient})
		c, err := Dial(context.Background(), s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		for _, cmd := range []string{"MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA"} {
			if _, err := c.Command("%s", cmd); err != nil {
				t.Fatal(err)
			}
		}
		tail := "MAIL FROM:<c@x.test>\r\nRCPT TO:<d@x.test>\r\nDATA\r\nsmuggled\r\n.\r\n"
		if err := c.Write([]byte("one\n.\n" + tail)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ReadReply(); err != nil {
			t.Fatal(err)
		}
		c.Quit()
		want := 1
		if lenient {
			want = 2
		}
		if got := len(s.Arrivals()); got != want {
			t.Errorf("lenient %v: %d messages, want %d", lenient, got, want)
		}
	}
}

func TestJudgeNamesWhatMustNotBe(t *testing.T) {
	at := time.Now()
	sent := []Sent{
		{ID: "lost", Recipients: []string{"lost.0@x"}, Outcome: Acked},
		{ID: "twice", Recipients: []string{"twice.0@x"}, Outcome: Acked},
		{ID: "killed", Recipients: []string{"killed.0@x"}, Outcome: Acked},
		{ID: "bounced", Recipients: []string{"bounced.0@x"}, Outcome: Acked},
		{ID: "refused", Recipients: []string{"refused.0@x"}, Outcome: Refused},
		{ID: "doubt", Recipients: []string{"doubt.0@x"}, Outcome: Doubt},
		{ID: "hurt", Recipients: []string{"hurt.0@x"}, Outcome: Acked},
	}
	arrive := func(id string, after time.Duration) Arrival {
		return Arrival{ID: id, Recipient: id + ".0@x", ReversePath: "f@x", Intact: true, Begun: at.Add(after - time.Millisecond), At: at.Add(after)}
	}
	hurt := arrive("hurt", 0)
	hurt.Intact = false
	arrived := []Arrival{
		arrive("twice", 0), arrive("twice", 5*time.Second),
		arrive("killed", 2900*time.Millisecond), arrive("killed", 4*time.Second),
		arrive("refused", 0), arrive("doubt", 0), arrive("stranger", 0), hurt,
		{Recipient: "f@x", Failed: []string{"bounced.0@x"}, MessageID: "1", Begun: at, At: at},
		{Recipient: "f@x", Failed: []string{"bounced.0@x"}, MessageID: "1", Begun: at, At: at.Add(4 * time.Second)},
		{Recipient: "f@x", Failed: []string{"bounced.0@x"}, MessageID: "2", Begun: at, At: at},
	}
	v := Judge(sent, arrived, []Kill{KilledAt(at.Add(3 * time.Second))})
	if len(v.Lost) != 1 || !strings.HasPrefix(v.Lost[0], "lost ") {
		t.Errorf("lost %q", v.Lost)
	}
	if v.Reports != 2 || len(v.ReportedTwice) != 1 {
		t.Errorf("%d reports, twice %q", v.Reports, v.ReportedTwice)
	}
	if v.Duplicates != 3 || len(v.Unexplained) != 2 || !strings.HasPrefix(v.Unexplained[0], "twice ") {
		t.Errorf("%d duplicates, unexplained %q", v.Duplicates, v.Unexplained)
	}
	if v.Bounced != 1 || len(v.Strangers) != 1 || len(v.RefusedArrived) != 1 || v.DoubtArrived != 1 || len(v.Damaged) != 1 {
		t.Errorf("%+v", v)
	}
}

func TestACopyReadAfterTheKillIsExplainedByIt(t *testing.T) {
	kill := time.Now()
	sent := []Sent{{ID: "a", Recipients: []string{"a.0@x"}, Outcome: Acked}}
	copyAt := func(d time.Duration) Arrival {
		return Arrival{ID: "a", Recipient: "a.0@x", ReversePath: "f@x", Intact: true, Begun: kill.Add(d), At: kill.Add(d)}
	}
	for late, want := range map[time.Duration]int{150 * time.Millisecond: 0, 3 * time.Second: 1} {
		v := Judge(sent, []Arrival{copyAt(late), copyAt(late + 30*time.Millisecond)}, []Kill{KilledAt(kill)})
		if v.Duplicates != 1 || len(v.Unexplained) != want {
			t.Errorf("copies %s after the kill: %d duplicates, unexplained %q", late, v.Duplicates, v.Unexplained)
		}
	}
}

func TestStuffingIsUndone(t *testing.T) {
	for _, s := range []string{"", ".\r\n", "..\r\n.x\r\n", "a\r\n.\r\nb\r\n", "\r\n.\r\n"} {
		wire := stuff([]byte(s))
		body, ok := bytes.CutSuffix(wire, []byte(".\r\n"))
		if !ok {
			t.Fatalf("%q: no end", s)
		}
		if s == "" {
			body = bytes.TrimSuffix(body, []byte("\r\n"))
		}
		if got := unstuff(body); string(got) != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}
