package smtp

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestTheCatalogueIsAsItsGoldenFile holds every reply of the catalogue as it
// is said on the wire. Run with -update to accept a change.
func TestTheCatalogueIsAsItsGoldenFile(t *testing.T) {
	var b strings.Builder
	for _, e := range Catalogue() {
		wire := e.Reply.AppendWire(nil)
		closes := ""
		if e.Reply.Close {
			closes = "  (then closes)"
		}
		fmt.Fprintf(&b, "%-22s %s%s\n", e.Name, strings.TrimSuffix(string(wire), "\r\n"), closes)
	}
	file := filepath.Join("testdata", "replies.golden")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the catalogue changed; run with -update if that is meant:\n%s", b.String())
	}
}

func TestTheCatalogueKeepsItsRules(t *testing.T) {
	source, err := os.ReadFile("replies.go")
	if err != nil {
		t.Fatal(err)
	}
	entries := Catalogue()
	if n := strings.Count(string(source), ") Reply {"); n != len(entries)+2 {
		t.Errorf("replies.go has %d constructors, Catalogue %d", n-2, len(entries))
	}
	names := map[string]bool{}
	for _, e := range entries {
		r := e.Reply
		if names[e.Name] {
			t.Errorf("%s is listed twice", e.Name)
		}
		names[e.Name] = true
		if !strings.Contains(string(source), "func "+e.Name+"(") || !strings.Contains(string(source), "// "+e.Name+" ") {
			t.Errorf("%s has no constructor or comment", e.Name)
		}
		if r.Enhanced.IsZero() && r.Code != 220 && r.Code != 354 {
			t.Errorf("%s has no enhanced code", e.Name)
		}
		if !r.Enhanced.IsZero() && int(r.Enhanced.Class) != r.Code/100 {
			t.Errorf("%s: class of %s is not that of %d (RFC 2034 section 4)", e.Name, r.Enhanced, r.Code)
		}
		if (r.Code == 421 || r.Code == 221 || r.Code == 521) && !r.Close {
			t.Errorf("%s: %d without closing", e.Name, r.Code)
		}
		if n := len(r.AppendWire(nil)); n > 512 {
			t.Errorf("%s: %d octets, more than a reply line may have (RFC 5321 section 4.5.3.1.5)", e.Name, n)
		}
	}
}

func TestRepliesOfSeveralLinesAndStrangeWords(t *testing.T) {
	tests := []struct {
		reply      Reply
		wire, text string
	}{
		{Reply{Code: 250}, "250 \r\n", "250"},
		{Reply{Code: 250, Enhanced: EnhancedCode{2, 0, 0}}, "250 2.0.0\r\n", "250 2.0.0"},
		{Reply{Code: 550, Enhanced: EnhancedCode{5, 1, 1}, Text: []string{"no", "really"}}, "550-5.1.1 no\r\n550 5.1.1 really\r\n", "550 5.1.1 no; really"},
		{Reply{Code: 250, Text: []string{"a\r\n250 b\x00"}}, "250 a??250 b?\r\n", "250 a??250 b?"},
		{Reply{}, "0 \r\n", ""},
	}
	for _, tt := range tests {
		if got := string(tt.reply.AppendWire(nil)); got != tt.wire {
			t.Errorf("%+v: wire %q, want %q", tt.reply, got, tt.wire)
		}
		if got := tt.reply.String(); got != tt.text {
			t.Errorf("%+v: text %q, want %q", tt.reply, got, tt.text)
		}
	}
}

func TestReplyLinesAreParsed(t *testing.T) {
	for _, tt := range []struct {
		line string
		code int
		more bool
		text string
		ok   bool
	}{
		{"250 ok", 250, false, "ok", true},
		{"250-ok", 250, true, "ok", true},
		{"250", 250, false, "", true},
		{"250 ", 250, false, "", true},
		{"599 x", 599, false, "x", true},
		{"25", 0, false, "", false},
		{"650 x", 0, false, "", false},
		{"150 x", 0, false, "", false},
		{"2x0 x", 0, false, "", false},
		{"250x", 0, false, "", false},
		{"", 0, false, "", false},
		{"SSH-2.0", 0, false, "", false},
	} {
		code, more, text, ok := ParseReplyLine([]byte(tt.line))
		if code != tt.code || more != tt.more || string(text) != tt.text || ok != tt.ok {
			t.Errorf("%q: %d %v %q %v", tt.line, code, more, text, ok)
		}
	}
}

func TestEnhancedCodesAreCutOffTheText(t *testing.T) {
	for _, tt := range []struct {
		text, rest string
		code       EnhancedCode
	}{
		{"5.1.1 no", "no", EnhancedCode{5, 1, 1}},
		{"4.7.28", "", EnhancedCode{4, 7, 28}},
		{"2.0.0  x", " x", EnhancedCode{2, 0, 0}},
		{"5.7.100 x", "x", EnhancedCode{5, 7, 100}},
		{"3.1.1 x", "3.1.1 x", EnhancedCode{}},
		{"5.1.1x", "5.1.1x", EnhancedCode{}},
		{"5.1", "5.1", EnhancedCode{}},
		{"5.1111.1 x", "5.1111.1 x", EnhancedCode{}},
		{"5..1 x", "5..1 x", EnhancedCode{}},
		{"", "", EnhancedCode{}},
	} {
		e, rest, ok := CutEnhanced(tt.text)
		if e != tt.code || rest != tt.rest || ok == e.IsZero() {
			t.Errorf("%q: %v %q %v", tt.text, e, rest, ok)
		}
	}
}

func FuzzReplyLine(f *testing.F) {
	for _, s := range []string{"250 2.0.0 ok", "250-x", "550 5.1.1", "4\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		code, more, text, ok := ParseReplyLine([]byte(s))
		if !ok {
			return
		}
		if code < 200 || code > 599 || !strings.HasSuffix(s, string(text)) || more != (len(s) > 3 && s[3] == '-') {
			t.Fatalf("%q: %d %v %q", s, code, more, text)
		}
		if e, rest, ok := CutEnhanced(string(text)); ok && !strings.HasPrefix(string(text), e.String()[:1]) || !strings.HasSuffix(string(text), rest) {
			t.Fatalf("%q: %v %q", text, e, rest)
		}
	})
}
