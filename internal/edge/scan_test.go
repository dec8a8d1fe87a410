package edge

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func scanAll(content string, cut func(left int) int) scan {
	var s scan
	p := []byte(content)
	for len(p) > 0 {
		n := min(len(p), max(1, cut(len(p))))
		s.write(p[:n])
		p = p[n:]
	}
	return s
}

var scanCases = []struct {
	name     string
	content  string
	hops     int
	eightBit bool
	utf8     bool
}{
	{"empty", "", 0, false, false},
	{"no header", "\r\nReceived: in the body\r\n", 0, false, false},
	{"one", "Received: from a\r\n\tby b\r\nSubject: x\r\n\r\nbody\r\n", 1, false, false},
	{"any case", "rEcEiVeD: x\r\nRECEIVED: y\r\n\r\n", 2, false, false},
	{"obsolete space before the colon", "Received : x\r\nReceived\t : y\r\n\r\n", 2, false, false},
	{"longer and shorter names", "Received-SPF: pass\r\nReceive: x\r\nX-Received: y\r\nReceivedd: z\r\n\r\n", 0, false, false},
	{"a folded line is no field", "Subject: x\r\n Received: y\r\n\tReceived: z\r\n\r\n", 0, false, false},
	{"the body is not read", "A: b\r\n\r\nReceived: x\r\n", 0, false, false},
	{"no end of header", "Received: x\r\nReceived: y", 2, false, false},
	{"8-bit body", "A: b\r\n\r\ncaf\xc3\xa9\r\n", 0, true, false},
	{"8-bit header", "Subject: caf\xc3\xa9\r\n\r\nplain\r\n", 0, true, true},
	{"8-bit far in a long body", "A: b\r\n\r\n" + strings.Repeat("x", 100) + "\xff" + strings.Repeat("y", 40), 0, true, false},
	{"a CR inside the line", "A: b\rc\r\nReceived: x\r\n\r\nReceived: y\r\n", 1, false, false},
	{"127 is not 8-bit", "A: b\r\n\r\n\x7f\x7f\x7f\r\n", 0, false, false},
}

func TestAScanCountsReceivedFieldsAndSeesEightBitOctetsHoweverTheStreamIsCut(t *testing.T) {
	for _, c := range scanCases {
		for cut := 1; cut <= 33; cut++ {
			s := scanAll(c.content, func(int) int { return cut })
			if s.hops != c.hops || s.eightBit != c.eightBit || s.utf8 != c.utf8 {
				t.Errorf("%s, cut at %d: hops %d, eightBit %t, utf8 %t; want %d, %t, %t",
					c.name, cut, s.hops, s.eightBit, s.utf8, c.hops, c.eightBit, c.utf8)
			}
		}
	}
}

// naive says the same as scan, from whole content and slowly.
func naive(content string) (hops int, eightBit, utf8 bool) {
	header := content
	if strings.HasPrefix(content, "\r\n") {
		header = ""
	} else if i := strings.Index(content, "\r\n\r\n"); i >= 0 {
		header = content[:i+2]
	}
	for line := range strings.SplitSeq(header, "\n") {
		name, _, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimRight(name, " \t"), "received") {
			hops++
		}
	}
	high := func(s string) bool { return strings.ContainsFunc(s, func(r rune) bool { return r > 127 }) }
	return hops, high(content), high(header)
}

func FuzzScanAgreesWithASlowReading(f *testing.F) {
	for _, c := range scanCases {
		f.Add(c.content, uint64(1))
	}
	f.Fuzz(func(t *testing.T, content string, seed uint64) {
		// The server hands over lines that end in CRLF and no other LF.
		content = strings.ReplaceAll(strings.ReplaceAll(content, "\r\n", "\n"), "\n", "\r\n")
		r := rand.New(rand.NewPCG(seed, 1))
		s := scanAll(content, func(left int) int { return 1 + r.IntN(left) })
		hops, eightBit, utf8 := naive(content)
		if s.hops != hops || s.eightBit != eightBit || s.utf8 != utf8 {
			t.Errorf("%q: hops %d, eightBit %t, utf8 %t; want %d, %t, %t",
				content, s.hops, s.eightBit, s.utf8, hops, eightBit, utf8)
		}
	})
}

func BenchmarkScan(b *testing.B) {
	for _, size := range []int{5 << 10, 50 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			head := "Received: from a by b; date\r\nFrom: <a@example.test>\r\nTo: <b@example.test>\r\nSubject: x\r\n\r\n"
			content := []byte(head + strings.Repeat("The quick brown fox jumps over the lazy dog, and then again.\r\n", size/62))
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				var s scan
				s.write(content)
			}
		})
	}
}
