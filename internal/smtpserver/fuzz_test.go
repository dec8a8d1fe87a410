package smtpserver

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpwire"
)

// feed is a net.Conn whose reads are cut as sizes say.
type feed struct {
	scripted
	sizes []byte
	at    int
	said  bytes.Buffer
}

func (c *feed) Read(p []byte) (int, error) {
	if len(c.sizes) > 0 && len(p) > 0 {
		p = p[:min(len(p), 1+int(c.sizes[c.at%len(c.sizes)]))]
		c.at++
	}
	return c.in.Read(p)
}

func (c *feed) Write(p []byte) (int, error) { return c.said.Write(p) }

// bench is a server whose recorder is changed for each input.
type bench struct {
	srv *Server
	rec *recorder
}

func (b *bench) Connect(ctx context.Context, c *Conn) (Session, smtp.Reply) {
	return b.rec.Connect(ctx, c)
}

func newBench(t testing.TB) *bench {
	b := &bench{}
	srv, err := New(Config{Hostname: "mx.example.test", MaxContentOctets: 4096, MaxContentLine: 256}, b)
	if err != nil {
		t.Fatal(err)
	}
	b.srv = srv
	return b
}

// converse runs a session over in and returns what was kept and the codes of
// the replies.
func (b *bench) converse(t *testing.T, in []byte, sizes []byte) ([]message, []int) {
	t.Helper()
	rec := &recorder{t: t, anyone: true}
	b.rec = rec
	c := &feed{sizes: sizes}
	c.in.Reset(in)
	runScripted(b.srv, c)
	if b.srv.Open() != 0 || counted(t, b.srv.tally.panics) != 0 {
		t.Fatalf("%q: %d connections open, or a panic", in, b.srv.Open())
	}
	if o, cl, _ := rec.counts(); o != 1 || cl != 1 {
		t.Fatalf("%q: %d sessions opened, %d closed", in, o, cl)
	}
	rd := smtpwire.NewReader(&c.said, new(smtpwire.Buffers), smtpwire.Reject)
	defer rd.Close()
	var codes []int
	for rd.Buffered()+c.said.Len() > 0 {
		r, err := rd.ReadReply()
		if err != nil {
			t.Fatalf("%q: the server said what is no reply: %v", in, err)
		}
		codes = append(codes, r.Code)
	}
	return rec.got(), codes
}

// reference walks over in by lines, as simply as it can be done, and finds the
// contents that a strict server keeps. The codes of the server's replies say
// which commands it took; where content lies and how it ends is worked out
// here alone.
func reference(in string, codes []int) (kept []string, ok bool) {
	for len(codes) > 0 {
		code := codes[0]
		codes = codes[1:]
		line, rest, found := strings.Cut(in, "\r\n")
		if !found {
			return kept, true
		}
		in = rest
		verb, size, _ := strings.Cut(strings.ToUpper(strings.TrimRight(line, " \t")), " ")
		switch {
		case verb == "DATA" && code == 354:
			content, rest, whole := referenceContent(in)
			if len(codes) == 0 {
				return kept, true // the client went away
			}
			if codes[0] == 250 && !whole {
				return kept, false
			}
			if codes[0] != 250 {
				return kept, true // refused, and the session ends
			}
			kept = append(kept, content)
			in, codes = rest, codes[1:]
		case verb == "BDAT":
			digits, _, _ := strings.Cut(strings.TrimLeft(size, " "), " ")
			n, err := strconv.Atoi(digits)
			if err != nil || n > len(in) || code == 501 || code == 552 {
				return kept, true
			}
			in = in[n:]
			if code == 250 {
				return nil, true // chunks have a reference of their own in smtpwire
			}
		case code == 221 || code == 421 || code == 521:
			return kept, true
		}
	}
	return kept, true
}

// referenceContent takes content up to its end, line by line.
func referenceContent(in string) (content, rest string, whole bool) {
	for {
		line, after, found := strings.Cut(in, "\r\n")
		if !found || strings.ContainsAny(line, "\r\n\x00") {
			return "", "", false
		}
		if line == "." {
			return content, after, true
		}
		content += strings.TrimPrefix(line, ".") + "\r\n"
		in = after
	}
}

func FuzzConnection(f *testing.F) {
	const hello = "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"
	for _, s := range []string{
		hello + "DATA\r\nx\r\n.\r\nQUIT\r\n", hello + "DATA\r\nx\n.\nMAIL\r\n.\r\n", hello + "BDAT 3\r\nabcBDAT 2 LAST\r\n\r\nQUIT\r\n",
		hello + "BDAT x\r\n", hello + "DATA\r\n..\r\n.\r\n" + hello[8:] + "DATA\r\n.\r\n", "STARTTLS\r\n", "AUTH PLAIN x\r\n", "GET / HTTP/1.0\r\n\r\n",
		"HELO x\r\nVRFY a\r\nEXPN b\r\nHELP\r\nNOOP\r\nRSET\r\nXCLIENT ADDR=1.2.3.4\r\nETRN x\r\n", hello + "DATA\r\n" + strings.Repeat("y", 300),
	} {
		f.Add([]byte(s), []byte{})
		f.Add([]byte(s), []byte{0})
	}
	seedChasquidConnections(f)
	b := newBench(f)
	f.Fuzz(func(t *testing.T, in, sizes []byte) {
		got, codes := b.converse(t, in, sizes)
		want, ok := reference(string(in), codes[1:])
		if !ok {
			t.Fatalf("%q: content that does not end was accepted: %v", in, codes)
		}
		if want == nil {
			return
		}
		for i, content := range want {
			if i >= len(got) || got[i].content != content {
				t.Fatalf("%q: kept %+v, the reference %q (codes %v)", in, got, want, codes)
			}
		}
		if len(got) != len(want) && !bytes.Contains(bytes.ToUpper(in), []byte("BDAT")) {
			t.Fatalf("%q: %d messages, the reference finds %d (codes %v)", in, len(got), len(want), codes)
		}
	})
}

// FuzzSmuggling puts any octets between content and a smuggled transaction.
// Unless they end the content as RFC 5321 section 4.1.1.4 says, there must not
// be two messages.
func FuzzSmuggling(f *testing.F) {
	for _, s := range []string{"\n.\n", "\n.\r\n", "\r.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n. \r\n", "\r\r\n.\r\r\n", "\n\r.\n\r"} {
		f.Add([]byte(s), []byte{})
		f.Add([]byte(s), []byte{2})
	}
	b := newBench(f)
	f.Fuzz(func(t *testing.T, end, sizes []byte) {
		const smuggled = "MAIL FROM:<evil@relay>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nsmuggled\r\n.\r\n"
		if bytes.Contains(append(append([]byte("body"), end...), smuggled[:4]...), []byte("\r\n.\r\n")) {
			return
		}
		in := "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nbody" + string(end) + smuggled
		got, codes := b.converse(t, []byte(in), sizes)
		if len(got) > 1 || len(got) == 1 && !strings.Contains(got[0].content, "smuggled\r\n") {
			t.Fatalf("%q: %d messages: %+v, codes %v", end, len(got), got, codes)
		}
	})
}

// seedChasquidConnections adds chasquid's corpus, as it is and with CRLF.
func seedChasquidConnections(f *testing.F) {
	dir := filepath.Join("..", "..", "..", "shared", "testdata", "smtp-fuzz-chasquid", "smtpsrv")
	files, _ := filepath.Glob(filepath.Join(dir, "testdata", "fuzz", "*", "*"))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			quoted, ok := strings.CutPrefix(strings.TrimSpace(line), "[]byte(")
			if !ok {
				continue
			}
			s, err := strconv.Unquote(strings.TrimSuffix(quoted, ")"))
			if err != nil {
				f.Fatal(err)
			}
			f.Add([]byte(s), []byte{})
			f.Add([]byte(strings.ReplaceAll(s, "\n", "\r\n")), []byte{1})
		}
	}
}

// TestTheControlArmIsSmuggled shows that the tests above can fail: with the
// weakness that drills switch on, two messages come of one.
func TestTheControlArmIsSmuggled(t *testing.T) {
	b := newBench(t)
	b.srv.cfg.Newlines = smtpwire.Lenient
	in := "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nbody\n.\nMAIL FROM:<evil@relay>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nsmuggled\r\n.\r\n"
	if got, codes := b.converse(t, []byte(in), nil); len(got) != 2 {
		t.Errorf("%d messages, codes %v", len(got), codes)
	}
	b = newBench(t)
	if got, codes := b.converse(t, []byte(in), nil); len(got) != 0 || codes[len(codes)-1] != 521 {
		t.Errorf("without it: %d messages, codes %v", len(got), codes)
	}
}
