package smtpclient

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-mail/postern/internal/smtp"
)

func TestAMessageGoesOutInTwoWritesWherePipeliningIsOffered(t *testing.T) {
	var mu sync.Mutex
	var groups []string
	s, _ := play(t, func(p *peer, _ int) {
		p.hello("PIPELINING", "SIZE 1000", "8BITMIME")
		buf := make([]byte, 4096)
		for _, answer := range []string{"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "250 taken\r\n"} {
			n, _ := p.r.Read(buf)
			mu.Lock()
			groups = append(groups, string(buf[:n]))
			mu.Unlock()
			_, _ = io.WriteString(p.conn, answer)
		}
		p.stall()
	})
	c := dial(t, New(Config{}), Target{Addr: s.addr})
	res, err := c.Send(t.Context(), message(hello, "bob@example.test", "carol@example.test"))
	if err != nil || !res.End.Positive() || res.Accepted() != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	want := []string{
		"MAIL FROM:<alice@example.org> SIZE=22\r\nRCPT TO:<bob@example.test>\r\nRCPT TO:<carol@example.test>\r\nDATA\r\n",
		hello + ".\r\n",
	}
	if d := cmp.Diff(want, groups); d != "" {
		t.Error(d)
	}
	if !c.Reusable() {
		t.Error("the connection is not reusable")
	}
}

// TestWhatGoesOnTheWire holds what is said to peers with and without extensions.
func TestWhatGoesOnTheWire(t *testing.T) {
	dsn := message(hello, "bob@example.test")
	dsn.Params = smtp.MailParams{Ret: smtp.RetHdrs, EnvID: "a+b", Auth: "eve@example.org", Size: 99}
	dsn.Rcpts[0].Params = smtp.RcptParams{Notify: smtp.NotifySuccess | smtp.NotifyDelay, ORcpt: "rfc822;b=o@b.test"}
	eight := message("Subject: hi\r\n\r\nh\xc3\xa9llo\r\n", "bob@example.test")
	eight.EightBit = true
	utf8 := message("Subject: h\xc3\xa9\r\n\r\n", "bøb@exämple.test")
	utf8.EightBit, utf8.UTF8, utf8.Reverse = true, true, path("ålice@example.org")
	udomain := message(hello, "bob@exämple.test")
	latin := message("Subject: h\xe9\r\n\r\n", "bob@example.test") // nobody said SMTPUTF8, and it is not UTF-8
	latin.EightBit, latin.UTF8 = true, true
	announced := message("Subject: h\xc3\xa9\r\n\r\n", "bob@example.test")
	announced.EightBit, announced.UTF8, announced.Params.SMTPUTF8 = true, true, true
	dots := message(".\r\n..\r\na.\r\n.b", "bob@example.test")
	null := message(hello, "bob@example.test")
	null.Reverse = smtp.Path{}
	cases := map[string]struct {
		keywords []string
		send     *Transaction
		config   Config
		want     []string
	}{
		"no extensions": {nil, dsn, Config{}, []string{
			"MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.test>", "DATA", "DATA<" + hello + ">",
		}},
		"DSN is passed on": {[]string{"DSN", "PIPELINING"}, dsn, Config{}, []string{
			"MAIL FROM:<alice@example.org> RET=HDRS ENVID=a+2Bb",
			"RCPT TO:<bob@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+3Do@b.test", "DATA", "DATA<" + hello + ">",
		}},
		"BODY only when needed": {[]string{"8BITMIME"}, message(hello, "bob@example.test"), Config{}, []string{
			"MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.test>", "DATA", "DATA<" + hello + ">",
		}},
		"BODY when needed": {[]string{"8bitmime"}, eight, Config{}, []string{
			"MAIL FROM:<alice@example.org> BODY=8BITMIME", "RCPT TO:<bob@example.test>", "DATA", "DATA<Subject: hi\r\n\r\nh\xc3\xa9llo\r\n>",
		}},
		"SMTPUTF8 when needed": {[]string{"SMTPUTF8", "8BITMIME"}, utf8, Config{}, []string{
			"MAIL FROM:<ålice@example.org> BODY=8BITMIME SMTPUTF8", "RCPT TO:<bøb@exämple.test>", "DATA", "DATA<Subject: h\xc3\xa9\r\n\r\n>",
		}},
		"SMTPUTF8 as the client before us said": {[]string{"SMTPUTF8", "8BITMIME"}, announced, Config{}, []string{
			"MAIL FROM:<alice@example.org> BODY=8BITMIME SMTPUTF8", "RCPT TO:<bob@example.test>", "DATA", "DATA<Subject: h\xc3\xa9\r\n\r\n>",
		}},
		"a header in an old charset needs no SMTPUTF8": {[]string{"8BITMIME"}, latin, Config{}, []string{
			"MAIL FROM:<alice@example.org> BODY=8BITMIME", "RCPT TO:<bob@example.test>", "DATA", "DATA<Subject: h\xe9\r\n\r\n>",
		}},
		"a header in an old charset is not called UTF-8": {[]string{"8BITMIME", "SMTPUTF8"}, latin, Config{}, []string{
			"MAIL FROM:<alice@example.org> BODY=8BITMIME", "RCPT TO:<bob@example.test>", "DATA", "DATA<Subject: h\xe9\r\n\r\n>",
		}},
		"a U-label domain becomes A-labels where SMTPUTF8 is missing": {nil, udomain, Config{}, []string{
			"MAIL FROM:<alice@example.org>", "RCPT TO:<bob@xn--exmple-cua.test>", "DATA", "DATA<" + hello + ">",
		}},
		"dots are doubled and the last line is ended": {[]string{"PIPELINING"}, dots, Config{}, []string{
			"MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.test>", "DATA", "DATA<..\r\n...\r\na.\r\n..b\r\n>",
		}},
		"null reverse-path": {nil, null, Config{}, []string{
			"MAIL FROM:<>", "RCPT TO:<bob@example.test>", "DATA", "DATA<" + hello + ">",
		}},
		"PIPELINING and CHUNKING use DATA": {[]string{"PIPELINING", "CHUNKING"}, message(hello, "bob@example.test"), Config{}, []string{
			"MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.test>", "DATA", "DATA<" + hello + ">",
		}},
		"CHUNKING alone, but never": {[]string{"CHUNKING"}, message(hello, "bob@example.test"), Config{Chunking: ChunkingNever}, []string{
			"MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.test>", "DATA", "DATA<" + hello + ">",
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var note func(string)
			s, n := play(t, func(p *peer, _ int) { p.hello(tc.keywords...); p.take(note) })
			note = n
			c := dial(t, New(tc.config), Target{Addr: s.addr})
			res, err := c.Send(t.Context(), tc.send)
			if err != nil || !res.End.Positive() {
				t.Fatalf("%+v, %v", res, err)
			}
			if res.DSN != slices.Contains(tc.keywords, "DSN") {
				t.Errorf("DSN is %v", res.DSN)
			}
			if d := cmp.Diff(tc.want, s.heard()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestBDATCarriesTheContentAsItIs(t *testing.T) {
	content := ".\r\nx\r\n"
	for name, tc := range map[string]struct {
		keywords []string
		mode     Chunking
	}{
		"CHUNKING without PIPELINING": {[]string{"CHUNKING"}, ChunkingWhenSafe},
		"one write":                   {[]string{"CHUNKING", "PIPELINING"}, ChunkingOneWrite},
	} {
		t.Run(name, func(t *testing.T) {
			s, note := play(t, func(p *peer, _ int) {
				p.hello(tc.keywords...)
				for range 2 {
					p.line()
					p.say("250 ok")
				}
				bdat := p.line()
				chunk := make([]byte, len(content))
				_, _ = io.ReadFull(p.r, chunk)
				p.say("250 taken " + bdat + " " + strings.ReplaceAll(string(chunk), "\r\n", "/"))
				p.stall()
			})
			_ = note
			c := dial(t, New(Config{Chunking: tc.mode}), Target{Addr: s.addr})
			res, err := c.Send(t.Context(), message(content, "bob@example.test"))
			if err != nil || res.End.Text[0] != "taken BDAT 6 LAST ./x/" {
				t.Fatalf("%+v, %v", res, err)
			}
		})
	}
}

func TestWhatThePeerLacksIsSaidWithoutAWordToIt(t *testing.T) {
	eight := message("a\xc3\r\n", "bob@example.test")
	eight.EightBit = true
	utf8 := message(hello, "bob@example.test")
	utf8.UTF8, utf8.EightBit, utf8.Params.SMTPUTF8 = true, true, true // 8BITMIME alone would not help
	rcpt := message(hello, "bøb@example.test")
	reverse := message(hello, "bob@example.test")
	reverse.Reverse = path("ålice@example.org")
	s, _ := play(t, func(p *peer, _ int) { p.hello("SIZE 21"); p.stall() })
	c := dial(t, New(Config{}), Target{Addr: s.addr})
	for _, tc := range []struct {
		t    *Transaction
		kind Kind
	}{
		{eight, Need8BitMIME},
		{message(hello, "bob@example.test"), TooLarge},
		{utf8, TooLarge},
		{sized(utf8), NeedSMTPUTF8},
		{sized(rcpt), NeedSMTPUTF8},
		{sized(reverse), NeedSMTPUTF8},
	} {
		_, err := c.Send(t.Context(), tc.t)
		var e *Error
		if !errors.As(err, &e) || e.Kind != tc.kind || e.AfterData {
			t.Errorf("got %v, want %v", err, tc.kind)
		}
		if !c.Reusable() {
			t.Error("the connection is not reusable any more")
		}
	}
}

// sized returns t made small enough for SIZE 21.
func sized(t *Transaction) *Transaction {
	small := *t
	small.Content, small.Size = strings.NewReader("\r\n"), 2
	return &small
}

// TestRefusalsAreRepliesAndNotErrors: each case says what the peer answers to
// MAIL, RCPT x 2, DATA and end-of-data.
func TestRefusalsAreRepliesAndNotErrors(t *testing.T) {
	cases := map[string]struct {
		answers  []string
		accepted int
		end      int
		data     int
	}{
		"all well":                             {[]string{"250 a", "250 b", "251 c", "354 d", "250 e"}, 2, 250, 354},
		"one recipient refused":                {[]string{"250 a", "550 5.1.1 no", "250 c", "354 d", "250 e"}, 1, 250, 354},
		"MAIL refused":                         {[]string{"450 a", "503 b", "503 c", "503 d"}, 0, 0, 503},
		"all refused, DATA refused":            {[]string{"250 a", "550 b", "450 c", "554 d"}, 0, 0, 554},
		"all refused, DATA accepted":           {[]string{"250 a", "550 b", "450 c", "354 d", "554 e"}, 0, 0, 354},
		"all refused, nothing taken with 250":  {[]string{"250 a", "550 b", "450 c", "354 d", "250 e"}, 0, 0, 354},
		"MAIL refused, and yet DATA accepted":  {[]string{"550 a", "250 b", "250 c", "354 d", "250 e"}, 0, 0, 354},
		"DATA refused":                         {[]string{"250 a", "250 b", "250 c", "451 d"}, 2, 0, 451},
		"content refused":                      {[]string{"250 a", "250 b", "250 c", "354 d", "554 5.6.0 e"}, 2, 554, 354},
		"shutdown after the content was taken": {[]string{"250 a", "250 b", "250 c", "354 d", "421 e"}, 2, 421, 354},
	}
	for name, tc := range cases {
		for _, pipelining := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				s, _ := play(t, func(p *peer, n int) { playAnswers(p, pipelining, tc.answers) })
				c := dial(t, New(Config{Deadlines: patient(0, 0)}), Target{Addr: s.addr})
				res, err := c.Send(t.Context(), message(hello, "bob@example.test", "carol@example.test"))
				if err != nil {
					t.Fatal(err)
				}
				if res.Accepted() != tc.accepted || res.End.Code != tc.end {
					t.Errorf("accepted %d, end %d; want %d, %d: %+v", res.Accepted(), res.End.Code, tc.accepted, tc.end, res)
				}
				if pipelining && res.Data.Code != tc.data {
					t.Errorf("data %d, want %d", res.Data.Code, tc.data)
				}
				if c.Reusable() == (tc.end == 421) {
					t.Errorf("reusable is %v", c.Reusable())
				}
				if tc.end == 421 {
					return
				}
				// The next message finds a clean transaction.
				res, err = c.Send(t.Context(), message(hello, "bob@example.test"))
				if err != nil || !res.End.Positive() {
					t.Errorf("next message: %+v, %v", res, err)
				}
			})
		}
	}
}

// playAnswers answers MAIL, RCPT, RCPT, DATA and the content of the first
// transaction as told, and plays the second one well. A MAIL inside an open
// transaction without RSET is refused, as RFC 5321 section 4.1.4 has it.
func playAnswers(p *peer, pipelining bool, answers []string) {
	if pipelining {
		p.hello("PIPELINING")
	} else {
		p.hello()
	}
	open := false
	mails, rcpts := 0, 0
	// answer says what the case wants of the first transaction.
	answer := func(i int, otherwise string) string {
		reply := otherwise
		if mails == 1 {
			reply = answers[i]
		}
		p.say(reply)
		return reply
	}
	for {
		switch verb, _, _ := strings.Cut(p.line(), " "); verb {
		case "":
			return
		case "RSET":
			open = false
			p.say("250 reset")
		case "MAIL":
			if open {
				p.say("503 nested MAIL")
				continue
			}
			mails, rcpts = mails+1, 0
			open = strings.HasPrefix(answer(0, "250 ok"), "2")
		case "RCPT":
			rcpts++
			answer(rcpts, "250 ok")
		case "DATA":
			if strings.HasPrefix(answer(3, "354 go"), "354") {
				p.content()
				answer(4, "250 taken")
				open = false
			}
		}
	}
}

func TestAConnectionIsNotReusedAfterThePeerClosedOrSpoke(t *testing.T) {
	for name, script := range map[string]func(p *peer){
		"closed": func(p *peer) { _ = p.conn.Close() },
		"reset":  func(p *peer) { p.reset() },
		"spoke":  func(p *peer) { p.say("421 idle too long"); p.stall() },
	} {
		t.Run(name, func(t *testing.T) {
			act := make(chan struct{})
			s, _ := play(t, func(p *peer, _ int) { p.hello(); <-act; script(p) })
			c := dial(t, New(Config{}), Target{Addr: s.addr})
			if !c.Reusable() {
				t.Fatal("a fresh connection is not reusable")
			}
			close(act)
			for deadline := time.Now().Add(5 * time.Second); c.Reusable(); {
				if time.Now().After(deadline) {
					t.Fatal("still reusable")
				}
			}
		})
	}
}

func TestContentThatEndsEarlyIsNeverEndedWithADot(t *testing.T) {
	for _, pipelining := range []string{"PIPELINING", "CHUNKING"} {
		var note func(string)
		s, n := play(t, func(p *peer, _ int) { p.hello(pipelining); p.take(note) })
		note = n
		c := dial(t, New(Config{}), Target{Addr: s.addr})
		m := message(hello, "bob@example.test")
		m.Size += 40 << 10
		m.Content = io.NewSectionReader(strings.NewReader(strings.Repeat("x", 36<<10)), 0, 36<<10)
		_, err := c.Send(t.Context(), m)
		var e *Error
		if !errors.As(err, &e) || e.Kind != Local || e.AfterData || !errors.Is(err, ErrShortContent) {
			t.Fatalf("got %v", err)
		}
		if c.Reusable() {
			t.Error("the connection is reusable")
		}
		c.Close()
		for _, line := range s.heard() {
			if strings.HasPrefix(line, "DATA<") && !strings.HasPrefix(line, "DATA<<cut>") {
				t.Errorf("the peer took %q", line)
			}
		}
	}
}

func TestACancelledContextEndsAWaitAtOnceAndGivesTheLastReplyGrace(t *testing.T) {
	t.Run("before the content", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, _ := play(t, func(p *peer, _ int) { p.hello(); p.line(); cancel(); p.stall() })
		c := dial(t, New(Config{}), Target{Addr: s.addr})
		_, err := c.Send(ctx, message(hello, "bob@example.test"))
		var e *Error
		if !errors.As(err, &e) || e.Kind != Cancelled || e.AfterData {
			t.Errorf("got %v", err)
		}
	})
	t.Run("after the dot, and the peer answers", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, _ := play(t, func(p *peer, _ int) {
			p.hello("PIPELINING")
			for range 3 {
				p.line()
			}
			p.say("250 ok", "250 ok", "354 go")
			p.content()
			cancel()
			p.say("250 taken")
		})
		c := dial(t, New(Config{}), Target{Addr: s.addr})
		res, err := c.Send(ctx, message(hello, "bob@example.test"))
		if err != nil || !res.End.Positive() {
			t.Errorf("got %+v, %v", res, err)
		}
	})
	t.Run("after the dot, and the peer is silent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, _ := play(t, func(p *peer, _ int) {
			p.hello("PIPELINING")
			for range 3 {
				p.line()
			}
			p.say("250 ok", "250 ok", "354 go")
			p.content()
			cancel()
			p.stall()
		})
		c := dial(t, New(Config{Deadlines: Deadlines{Grace: 20 * time.Millisecond}}), Target{Addr: s.addr})
		_, err := c.Send(ctx, message(hello, "bob@example.test"))
		var e *Error
		if !errors.As(err, &e) || !e.AfterData {
			t.Errorf("got %v", err)
		}
	})
}
