package smtpwire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-mail/postern/internal/smtp"
)

func TestLinesEndWithCRLF(t *testing.T) {
	tests := []struct {
		in    string
		n     Newlines
		limit int
		line  string
		err   error
	}{
		{"NOOP\r\n", Reject, 512, "NOOP", nil},
		{"\r\n", Reject, 512, "", nil},
		{"NOOP\n", Reject, 512, "", ErrBareLF},
		{"NO\rOP\r\n", Reject, 512, "", ErrBareCR},
		{"NOOP\r\r\n", Reject, 512, "", ErrBareCR},
		{"NOOP\n", Normalise, 512, "NOOP", nil},
		{"NO\rOP\n", Normalise, 512, "", ErrBareCR},
		{"NOOP\n", Lenient, 512, "NOOP", nil},
		{"NOOP", Reject, 512, "", io.ErrUnexpectedEOF},
		{"NOOP\r", Reject, 512, "", io.ErrUnexpectedEOF},
		{"", Reject, 512, "", io.EOF},
		{"12345678\r\n", Reject, 10, "12345678", nil},
		{"123456789\r\n", Reject, 10, "", ErrLineTooLong},
		{strings.Repeat("x", 5000) + "\r\n", Reject, 5000, "", ErrLineTooLong},
		{strings.Repeat("x", CommandBuffer-2) + "\r\n", Reject, 5000, strings.Repeat("x", CommandBuffer-2), nil},
	}
	for _, tt := range tests {
		for _, sizes := range [][]byte{nil, {0}, {6}} {
			r := NewReader(&pieces{in: []byte(tt.in), sizes: sizes}, new(Buffers), tt.n)
			line, err := r.ReadLine(tt.limit)
			if string(line) != tt.line || !errors.Is(err, tt.err) {
				t.Errorf("%.20q in reads of %v: %.20q, %v", tt.in, sizes, line, err)
			}
			r.Close()
		}
	}
}

func TestManyLinesPassThroughOneBuffer(t *testing.T) {
	line := strings.Repeat("y", 700)
	r := NewReader(&pieces{in: bytes.Repeat([]byte(line+"\r\n"), 100), sizes: []byte{255, 3, 90}}, new(Buffers), Reject)
	for i := range 100 {
		got, err := r.ReadLine(CommandBuffer)
		if err != nil || string(got) != line {
			t.Fatalf("line %d: %d octets, %v", i, len(got), err)
		}
	}
	if _, err := r.ReadLine(CommandBuffer); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestCommandsReadAheadWithContentAreKept(t *testing.T) {
	lines := strings.Repeat("RCPT TO:<someone@example.test>\r\n", 400) // more than a command buffer
	r := NewReader(strings.NewReader("DATA\r\nx\r\n.\r\n"+lines), new(Buffers), Reject)
	if _, err := r.ReadLine(512); err != nil {
		t.Fatal(err)
	}
	var d Decoder
	d.BeginData(r, 1000)
	if out, err := drain(&d); string(out) != "x\r\n" || err != nil {
		t.Fatalf("%q, %v", out, err)
	}
	for i := range 400 {
		r.EndContent()
		if line, err := r.ReadLine(512); err != nil || string(line) != "RCPT TO:<someone@example.test>" {
			t.Fatalf("line %d: %q, %v", i, line, err)
		}
	}
	if r.EndContent(); r.content != nil {
		t.Error("the content buffer was not given back")
	}
}

func TestWhatWasReadAheadCanBeDropped(t *testing.T) {
	r := NewReader(strings.NewReader("STARTTLS\r\nEHLO x\r\n"), new(Buffers), Reject)
	if _, err := r.ReadLine(512); err != nil || !r.HasLine() {
		t.Fatal(err)
	}
	if n := r.Discard(); n != 8 || r.Buffered() != 0 || r.HasLine() {
		t.Errorf("%d octets dropped, %d left", n, r.Buffered())
	}
	r.Close()
	r.Close()
}

// silent gives nothing for ever.
type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

func TestASourceThatGivesNothingIsGivenUp(t *testing.T) {
	r := NewReader(silent{}, new(Buffers), Reject)
	if _, err := r.ReadLine(512); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

func TestRepliesAreReadVerbatim(t *testing.T) {
	tests := []struct {
		in   string
		want smtp.Reply
		err  error
	}{
		{"250 ok\r\n", smtp.Reply{Code: 250, Text: []string{"ok"}}, nil},
		{"250\r\n", smtp.Reply{Code: 250, Text: []string{""}}, nil},
		{"250-a\r\n250-\r\n250 b\r\n", smtp.Reply{Code: 250, Text: []string{"a", "", "b"}}, nil},
		{"550-5.1.1 no\r\n550 5.1.1 one\r\n", smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{Class: 5, Subject: 1, Detail: 1}, Text: []string{"no", "one"}}, nil},
		{"550-5.1.1 no\r\n550 one\r\n", smtp.Reply{Code: 550, Text: []string{"5.1.1 no", "one"}}, nil},
		{"550 4.1.1 odd\r\n", smtp.Reply{Code: 550, Text: []string{"4.1.1 odd"}}, nil},
		{"250 lf\n", smtp.Reply{Code: 250, Text: []string{"lf"}}, nil},
		{"SSH-2.0\r\n", smtp.Reply{}, ErrReply},
		{"\r\n", smtp.Reply{}, ErrReply},
		{"250-a\r\n", smtp.Reply{}, io.EOF},
		{strings.Repeat("250-x\r\n", 200), smtp.Reply{}, ErrReply},
		{"250 " + strings.Repeat("x", 3000) + "\r\n", smtp.Reply{}, ErrLineTooLong},
	}
	for _, tt := range tests {
		r := NewReader(&pieces{in: []byte(tt.in), sizes: []byte{3, 40}}, new(Buffers), Normalise)
		got, err := r.ReadReply()
		if !errors.Is(err, tt.err) {
			t.Errorf("%.30q: %v", tt.in, err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%.30q: %s", tt.in, d)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte("250-2.0.0 a\r\n250 2.0.0 b\r\n"), []byte{1})
	f.Add([]byte("421\r\n"), []byte{})
	f.Fuzz(func(t *testing.T, in, reads []byte) {
		r := NewReader(&pieces{in: in, sizes: reads}, new(Buffers), Normalise)
		defer r.Close()
		for {
			reply, err := r.ReadReply()
			if err != nil {
				return
			}
			if reply.Code < 200 || reply.Code > 599 || len(reply.Text) == 0 || strings.ContainsAny(strings.Join(reply.Text, ""), "\r\n") {
				t.Fatalf("%q: %+v", in, reply)
			}
		}
	})
}
