package smtpwire

import (
	"bytes"
	"strings"
	"testing"
)

func encode(in []byte, cuts []byte) []byte {
	var e Encoder
	var out []byte
	for i := 0; len(in) > 0; i++ {
		n := len(in)
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)]%7)+1)
		}
		out = e.Append(out, in[:n])
		in = in[n:]
	}
	return e.End(out)
}

func TestContentIsEncoded(t *testing.T) {
	for in, want := range map[string]string{
		"":                  ".\r\n",
		"a\r\n":             "a\r\n.\r\n",
		"a":                 "a\r\n.\r\n",
		".\r\n":             "..\r\n.\r\n",
		"..a\r\n.b\r\n":     "...a\r\n..b\r\n.\r\n",
		"a\n.\nb":           "a\r\n..\r\nb\r\n.\r\n",
		"a\r.\r\nb\r\n":     "a\r\n..\r\nb\r\n.\r\n",
		"a\r":               "a\r\n.\r\n",
		"a\r\r\n":           "a\r\n\r\n.\r\n",
		"\n":                "\r\n.\r\n",
		"a\r\n\r\nb.c\r\n.": "a\r\n\r\nb.c\r\n..\r\n.\r\n",
	} {
		for _, cuts := range [][]byte{nil, {0}, {1, 2}} {
			if got := string(encode([]byte(in), cuts)); got != want {
				t.Errorf("%q cut at %v: %q, want %q", in, cuts, got, want)
			}
		}
	}
}

func FuzzEncoder(f *testing.F) {
	f.Add([]byte(".\r\na\n.\r"), []byte{1})
	f.Add([]byte("a\r\n.\r\n"), []byte{})
	f.Fuzz(func(t *testing.T, in, cuts []byte) {
		wire := encode(in, cuts)
		if n := endings(wire); n != 1 || !bytes.HasSuffix(wire, []byte(".\r\n")) {
			t.Fatalf("%q: %d ends in %q", in, n, wire)
		}
		if bytes.IndexByte(in, 0) >= 0 {
			return
		}
		got := decodeData(bytes.NewReader(wire), Reject, 1<<20)
		want := strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(string(in))
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		if got.err != nil || string(got.content) != want || got.rest != 0 {
			t.Fatalf("%q: came back as %q, %v", in, got.content, got.err)
		}
	})
}

func BenchmarkEncoder5K(b *testing.B) {
	in := bytes.Repeat([]byte(strings.Repeat("x", 74)+"\r\n"), 68)
	dst := make([]byte, 0, 8192)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		var e Encoder
		dst = e.End(e.Append(dst[:0], in))
	}
}

func BenchmarkDecoder50K(b *testing.B) {
	in := append(bytes.Repeat([]byte(strings.Repeat("x", 74)+"\r\n"), 680), ".\r\n"...)
	var pool Buffers
	src := bytes.NewReader(nil)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(in)
		var r Reader
		r.Open(src, &pool, Reject)
		var d Decoder
		d.BeginData(&r, 1000)
		for {
			if _, err := d.Next(); err != nil {
				break
			}
		}
		r.Close()
	}
}
