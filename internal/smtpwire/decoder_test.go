package smtpwire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// pieces gives out its octets in reads of the sizes given, over and over.
type pieces struct {
	in    []byte
	sizes []byte
	at    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := len(p.in)
	if len(p.sizes) > 0 {
		n = min(n, 1+int(p.sizes[p.at%len(p.sizes)]))
		p.at++
	}
	n = copy(b, p.in[:n])
	p.in = p.in[n:]
	return n, nil
}

func decodeData(src io.Reader, n Newlines, maxLine int) outcome {
	r := NewReader(src, new(Buffers), n)
	defer r.Close()
	var d Decoder
	d.BeginData(r, maxLine)
	out, err := drain(&d)
	if err != nil {
		return outcome{content: out, err: err}
	}
	after, _ := io.ReadAll(src)
	return outcome{content: out, rest: r.Buffered() + len(after)}
}

func drain(d *Decoder) ([]byte, error) {
	var out []byte
	for {
		p, err := d.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if len(p) == 0 {
			return out, errors.New("empty chunk")
		}
		out = append(out, p...)
	}
}

func TestContentEndsAtItsDotAndNowhereElse(t *testing.T) {
	tests := []struct {
		name, in string
		n        Newlines
		content  string
		rest     string
		err      error
	}{
		{"plain", "a\r\nb\r\n.\r\nQUIT\r\n", Reject, "a\r\nb\r\n", "QUIT\r\n", nil},
		{"empty", ".\r\n", Reject, "", "", nil},
		{"dots are taken off", "..\r\n.a\r\n...\r\n\r\n.\r\n", Reject, ".\r\na\r\n..\r\n\r\n", "", nil},
		{"dot inside a line", "a.\r\n.\r\n", Reject, "a.\r\n", "", nil},
		{"bare LF", "a\n.\r\n", Reject, "", "", ErrBareLF},
		{"bare LF first", "\n.\r\n", Reject, "", "", ErrBareLF},
		{"bare CR", "a\rb\r\n.\r\n", Reject, "", "", ErrBareCR},
		{"CR CR LF", "a\r\r\n.\r\n", Reject, "", "", ErrBareCR},
		{"dot CR", "a\r\n.\rb\r\n.\r\n", Reject, "a\r\n", "", ErrBareCR},
		{"dot LF", "a\r\n.\nb\r\n.\r\n", Reject, "a\r\n", "", ErrBareLF},
		{"NUL", "a\x00\r\n.\r\n", Reject, "", "", ErrNUL},
		{"NUL before the dot", "a\r\n\x00.\r\n.\r\n", Reject, "a\r\n", "", ErrNUL},
		{"cut", "a\r\n", Reject, "a\r\n", "", io.ErrUnexpectedEOF},
		{"cut at the dot", "a\r\n.", Reject, "a\r\n", "", io.ErrUnexpectedEOF},
		{"cut in the end", "a\r\n.\r", Reject, "a\r\n", "", io.ErrUnexpectedEOF},
		{"line too long", "123456789\r\n.\r\n", Reject, "", "", ErrLineTooLong},
		{"line as long as allowed", "12345678\r\n.\r\n", Reject, "12345678\r\n", "", nil},
		{"normalise LF", "a\nb\r\n.\r\n", Normalise, "a\r\nb\r\n", "", nil},
		{"normalise CR", "a\rb\r\n.\r\n", Normalise, "a\r\nb\r\n", "", nil},
		{"normalise does not end at LF.LF", "a\n.\nMAIL\r\n.\r\n", Normalise, "a\r\n.\r\nMAIL\r\n", "", nil},
		{"normalise does not end at LF.CRLF", "a\n.\r\nMAIL\r\n.\r\n", Normalise, "a\r\n.\r\nMAIL\r\n", "", nil},
		{"normalise does not end at CR.CRLF", "a\r.\r\nMAIL\r\n.\r\n", Normalise, "a\r\n.\r\nMAIL\r\n", "", nil},
		{"normalise keeps dots after LF", "a\n..\r\n.\r\n", Normalise, "a\r\n..\r\n", "", nil},
		{"normalise dot CR", "a\r\n.\rb\r\n.\r\n", Normalise, "a\r\n\r\nb\r\n", "", nil},
		{"lenient ends at LF.LF", "a\n.\nMAIL", Lenient, "a\r\n", "MAIL", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, sizes := range [][]byte{nil, {0}, {1}, {2, 0}} {
				got := decodeData(&pieces{in: []byte(tt.in), sizes: sizes}, tt.n, 10)
				if !errors.Is(got.err, tt.err) || (tt.err == nil && (string(got.content) != tt.content || got.rest != len(tt.rest))) {
					t.Errorf("reads of %v: content %q, rest %d, %v", sizes, got.content, got.rest, got.err)
				}
			}
		})
	}
}

func TestSmugglingVectorsEndNothing(t *testing.T) {
	file := filepath.Join("..", "..", "..", "shared", "testdata", "smtp-smuggling", "vectors.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("suite smtp-smuggling is not here: %v", err)
	}
	var suite struct {
		Vectors []struct {
			ID  string `json:"id"`
			Hex string `json:"end_of_data_hex"`
		}
	}
	if err := json.Unmarshal(data, &suite); err != nil || len(suite.Vectors) < 5 {
		t.Fatalf("%d vectors, %v", len(suite.Vectors), err)
	}
	for _, v := range suite.Vectors {
		end, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		in := "Subject: x\r\n\r\nbody" + string(end) + "MAIL FROM:<evil@relay>\r\nRCPT TO:<a@b>\r\nDATA\r\nsmuggled\r\n.\r\n"
		if got := decodeData(strings.NewReader(in), Reject, 1000); got.err == nil {
			t.Errorf("%s: accepted as %q", v.ID, got.content)
		}
		got := decodeData(strings.NewReader(in), Normalise, 1000)
		if got.err == nil && (!bytes.Contains(got.content, []byte("smuggled")) || got.rest != 0) {
			t.Errorf("%s: normalised to %q with %d octets after it", v.ID, got.content, got.rest)
		}
		// Outbound: whatever the content holds, one message leaves.
		var e Encoder
		wire := e.End(e.Append(nil, []byte(in[:strings.Index(in, "MAIL")]+"rest\r\n")))
		if n := endings(wire); n != 1 {
			t.Errorf("%s: %d ends in %q", v.ID, n, wire)
		}
	}
}

// endings counts what the laxest receivers take for the end of content.
func endings(wire []byte) int {
	flat := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace("\n" + string(wire))
	n := 0
	for i := 0; i+3 <= len(flat); i++ {
		if flat[i:i+3] == "\n.\n" {
			n++
		}
	}
	return n
}

func decodeChunks(in []byte, sizes []byte, n Newlines, maxLine int, reads []byte) outcome {
	r := NewReader(&pieces{in: in, sizes: reads}, new(Buffers), n)
	defer r.Close()
	var d Decoder
	d.BeginChunks(r, maxLine)
	var out []byte
	left := len(in)
	for i := 0; left > 0; i++ {
		size := left
		if len(sizes) > 0 && i < 1000 {
			size = min(left, int(sizes[i%len(sizes)]))
		}
		left -= size
		d.Chunk(int64(size))
		p, err := drain(&d)
		out = append(out, p...)
		if err != nil {
			return outcome{content: out, err: err}
		}
	}
	p, err := d.Finish()
	return outcome{content: append(out, p...), err: err}
}

func TestChunksAreLinesWhereverTheyAreCut(t *testing.T) {
	tests := []struct {
		in, content string
		n           Newlines
		err         error
	}{
		{"a\r\n.\r\nb\r\n", "a\r\n.\r\nb\r\n", Reject, nil},
		{"..a\r\n", "..a\r\n", Reject, nil},
		{"no end", "no end\r\n", Reject, nil},
		{"", "", Reject, nil},
		{"a\nb", "", Reject, ErrBareLF},
		{"a\rb", "", Reject, ErrBareCR},
		{"a\r", "", Reject, ErrBareCR},
		{"a\r\r\n", "", Reject, ErrBareCR},
		{"a\r", "a\r\n", Normalise, nil},
		{"a\n\rb\r\n", "a\r\n\r\nb\r\n", Normalise, nil},
	}
	for _, tt := range tests {
		for _, sizes := range [][]byte{nil, {1}, {2}, {3, 0, 1}} {
			for _, reads := range [][]byte{nil, {0}} {
				got := decodeChunks([]byte(tt.in), sizes, tt.n, 100, reads)
				if !errors.Is(got.err, tt.err) || tt.err == nil && string(got.content) != tt.content {
					t.Errorf("%q cut at %v: %q, %v", tt.in, sizes, got.content, got.err)
				}
			}
		}
	}
}

func TestWhatFollowsAChunkIsLeftAlone(t *testing.T) {
	r := NewReader(iotest.OneByteReader(strings.NewReader("abc\r\nQUIT\r\n")), new(Buffers), Reject)
	var d Decoder
	d.BeginChunks(r, 100)
	d.Chunk(5)
	if out, err := drain(&d); string(out) != "abc\r\n" || err != nil {
		t.Fatalf("%q, %v", out, err)
	}
	r.EndContent()
	if line, err := r.ReadLine(100); string(line) != "QUIT" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
}

func FuzzData(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "..\r\n.\r\nX", "a\n.\n.\r\n", "a\r.\r\n", "\r\n.\rX", "\x00\r\n", strings.Repeat("x", 70) + "\r\n.\r\n"} {
		f.Add([]byte(s), []byte{0}, uint8(0))
		f.Add([]byte(s), []byte{}, uint8(1))
		f.Add([]byte(s), []byte{1, 4}, uint8(2))
	}
	f.Fuzz(func(t *testing.T, in, reads []byte, mode uint8) {
		n := Newlines(mode % 3)
		want := referenceData(in, n, 60, io.ErrUnexpectedEOF)
		got := decodeData(&pieces{in: in, sizes: reads}, n, 60)
		compare(t, in, got, want)
		if got.err == nil {
			checkContent(t, got.content)
		}
	})
}

// compare holds the decoder against the reference. Both refuse the same
// inputs; which of two faults is named first may differ with the reads.
func compare(t *testing.T, in []byte, got, want outcome) {
	t.Helper()
	if (got.err == nil) != (want.err == nil) {
		t.Fatalf("%q: %v, the reference says %v", in, got.err, want.err)
	}
	if want.err == nil && (!bytes.Equal(got.content, want.content) || got.rest != want.rest) {
		t.Fatalf("%q: %q and %d octets, the reference says %q and %d", in, got.content, got.rest, want.content, want.rest)
	}
	if errors.Is(got.err, io.ErrUnexpectedEOF) && !errors.Is(want.err, io.ErrUnexpectedEOF) {
		t.Fatalf("%q: not ended, the reference says %v", in, want.err)
	}
}

// checkContent holds what is given out against the package's promise.
func checkContent(t *testing.T, content []byte) {
	t.Helper()
	flat := bytes.ReplaceAll(content, []byte("\r\n"), nil)
	if bytes.ContainsAny(flat, "\r\n\x00") || len(content) > 0 && !bytes.HasSuffix(content, []byte("\r\n")) {
		t.Fatalf("content %q is not lines", content)
	}
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("a\r\nb\r\n"), []byte{1, 2}, []byte{0}, uint8(0))
	f.Add([]byte("a\rb\n"), []byte{1}, []byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, in, sizes, reads []byte, mode uint8) {
		n := Newlines(mode % 2)
		got := decodeChunks(in, sizes, n, 60, reads)
		compare(t, in, got, referenceChunks(in, n, 60))
		if got.err == nil {
			checkContent(t, got.content)
		}
	})
}
