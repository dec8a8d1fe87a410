package smtp

import (
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPathsAreParsedAndFormatted(t *testing.T) {
	long := strings.Repeat("a", 64)
	tests := []struct {
		in, local, domain, rest string
	}{
		{"<>", "", "", ""},
		{"<> SIZE=1", "", "", " SIZE=1"},
		{"<alice@example.org>", "alice", "example.org", ""},
		{"<Alice.B+c@EXAMPLE.org> X", "Alice.B+c", "EXAMPLE.org", " X"},
		{`<"a b"@example.org>`, "a b", "example.org", ""},
		{`<"a\"\\b"@example.org>`, `a"\b`, "example.org", ""},
		{`<"a>b"@example.org>`, "a>b", "example.org", ""},
		{`<"a@b"@example.org>`, "a@b", "example.org", ""},
		{`<""@example.org>`, "", "example.org", ""},
		{"<a@[127.0.0.1]>", "a", "[127.0.0.1]", ""},
		{"<a@[IPv6:2001:db8::1]>", "a", "[IPv6:2001:db8::1]", ""},
		{"<@one.test,@two.test:a@example.org>", "a", "example.org", ""},
		{"<Postmaster>", "Postmaster", "", ""},
		{"<jörg@example.org>", "jörg", "example.org", ""},
		{"<a@bücher.example>", "a", "bücher.example", ""},
		{"<a@my_host.example.org>", "a", "my_host.example.org", ""},
		{"<" + long + long + "@example.org>", long + long, "example.org", ""},
		{"a@example.org SIZE=1", "a", "example.org", " SIZE=1"},
		{"<!#$%&'*+-/=?^_`{|}~@example.org>", "!#$%&'*+-/=?^_`{|}~", "example.org", ""},
	}
	for _, tt := range tests {
		p, rest, err := ParsePath(tt.in)
		if err != nil || p.Local != tt.local || p.Domain != tt.domain || rest != tt.rest {
			t.Errorf("%s: %+v, rest %q, %v", tt.in, p, rest, err)
			continue
		}
		again, rest, err := ParsePath(string(p.AppendWire(nil)))
		if err != nil || again != p || rest != "" {
			t.Errorf("%s: formatted as %s, parsed as %+v, %v", tt.in, p.AppendWire(nil), again, err)
		}
	}
}

func TestMalformedPathsAreRefused(t *testing.T) {
	for _, in := range []string{
		"", "<", ">", "<a>", "<a@>", "<@b>", "<a@b", "<a@b>>x"[:6], "< a@b>", "<a @b>", "<a@b >", "<a@@b>", "<a@b@c>",
		"<.a@b>", "<a.@b>", "<a..b@c>", "<a@b..c>", "<a@.b>", "<a@b.>", "<a@-b>", "<a@b->", "<a@b-.c>",
		`<"a@b>`, `<"a"b@c>`, `<a"b"@c>`, "<\"a\nb\"@c>", "<\"a\tb\"@c>", `<"a\` + "\x01" + `"@c>`, `<"a\`,
		"<a\x00b@c>", "<a@b\x00>", "<a\x7fb@c>", "<\xff@b>", "<a@\xffb>", "<a\u0085b@c.test>",
		"<a@[127.0.0.1>", "<a@[127.0.0.256]>", "<a@[::1]>", "<a@[IPv6:127.0.0.1]>", "<a@[IPv6:fe80::1%eth0]>", "<a@[x:y]>", "<a@[]>",
		"<@one.test>", "<@one.test,two.test:a@b>", "<@:a@b>", "<" + strings.Repeat("a", 256) + "@b>",
		"<a@" + strings.Repeat("b", 64) + ".test>", "<a@" + strings.Repeat("b.", 130) + "test>",
		`"a b"@c`, "a@b>", "a", "<a@exa mple.org>", "<a@b,c>", "<a(comment)@b>", "<a@bü..example>", "<a@℀.example>",
	} {
		if in == "<a@b>>" {
			continue // the rest is the caller's
		}
		p, rest, err := ParsePath(in)
		if err == nil {
			t.Errorf("%q: accepted as %+v, rest %q", in, p, rest)
			continue
		}
		var e *Error
		if !errors.As(err, &e) || !e.SMTPReply().Permanent() {
			t.Errorf("%q: error %v bears no reply", in, err)
		}
	}
}

func TestPathsThatMeanTheSameMailboxHaveOneKey(t *testing.T) {
	tests := []struct{ in, key string }{
		{"<Alice@Example.ORG>", "alice@example.org"},
		{`<"Alice"@example.org>`, "alice@example.org"},
		{"<jo\u0308rg@example.org>", "j\u00f6rg@example.org"},
		{"<J\u00d6RG@example.org>", "j\u00f6rg@example.org"},
		{"<a@B\u00fccher.example>", "a@xn--bcher-kva.example"},
		{"<a@XN--BCHER-KVA.example>", "a@xn--bcher-kva.example"},
		{"<a@bu\u0308cher.example>", "a@xn--bcher-kva.example"},
		{"<a@[127.0.0.1]>", "a@[127.0.0.1]"},
		{"<a@[IPv6:2001:DB8:0::1]>", "a@[ipv6:2001:db8::1]"},
		{"<Postmaster>", "postmaster"},
		{"<>", ""},
	}
	for _, tt := range tests {
		p, _, err := ParsePath(tt.in)
		if err != nil || p.Key() != tt.key {
			t.Errorf("%s: key %q, want %q (%v)", tt.in, p.Key(), tt.key, err)
		}
	}
}

func TestDomainKeyIsTheALabelInLowerCase(t *testing.T) {
	for in, want := range map[string]string{
		"Example.ORG": "example.org", "example.org.": "example.org", "faß.de": "xn--fa-hia.de", "bücher。example": "xn--bcher-kva.example",
		"a_b.test": "a_b.test", "[192.0.2.1]": "[192.0.2.1]", "xn--zz.test": "xn--zz.test",
	} {
		if got, err := DomainKey(in); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", ".", "a..b", "-a.test", "a b", "[x]", "a@b", "a/b.test", strings.Repeat("a", 64) + ".test"} {
		if got, err := DomainKey(in); err == nil {
			t.Errorf("%q: accepted as %q", in, got)
		}
	}
}

func TestWhatAPathFormatsParsesToTheSamePath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Path{
			Local:  rapid.StringMatching(`[ -~]{1,30}`).Draw(t, "local"),
			Domain: rapid.StringMatching(`[a-z0-9]{1,9}(\.[a-z]{2,5}){0,2}`).Draw(t, "domain"),
		}
		got, rest, err := ParsePath(string(p.AppendWire(nil)))
		if err != nil || rest != "" || got != p {
			t.Fatalf("%+v: wire %s, parsed %+v, %q, %v", p, p.AppendWire(nil), got, rest, err)
		}
		if got, err := ParseMailbox(p.String()); err != nil || got != p {
			t.Fatalf("%+v: text %s, parsed %+v, %v", p, p, got, err)
		}
	})
}

// isemailCase is one test of the is_email suite.
type isemailCase struct {
	ID        int    `xml:"id,attr"`
	Address   string `xml:"address"`
	Category  string `xml:"category"`
	Diagnosis string `xml:"diagnosis"`
}

// TestVerdictsAgreeWithIsEmail takes the categories of the is_email suite that
// say something about SMTP: VALID, DNSWARN and RFC5321 are addresses for the
// envelope; the others are not (DEPREC and CFWS "cannot be used unmodified").
func TestVerdictsAgreeWithIsEmail(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "testdata", "addr-isemail", "tests.xml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("suite addr-isemail is not here: %v", err)
	}
	var suite struct {
		Tests []isemailCase `xml:"test"`
	}
	if err := xml.Unmarshal(data, &suite); err != nil {
		t.Fatal(err)
	}
	agreed, excepted := 0, 0
	for _, tc := range suite.Tests {
		// Control characters are written as their pictures, U+2400 and up.
		address := strings.Map(func(r rune) rune {
			if r >= 0x2400 && r < 0x2421 {
				return r - 0x2400
			}
			return r
		}, tc.Address)
		_, err := ParseMailbox(address)
		switch tc.Category {
		case "ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321":
		default:
			if err != nil {
				err = nil
			} else {
				err = errors.New("accepted")
			}
		}
		switch reason := isemailException(tc); {
		case err == nil:
			agreed++
		case reason != "":
			excepted++
			t.Logf("%d %q (%s): %v: %s", tc.ID, tc.Address, tc.Diagnosis, err, reason)
		default:
			t.Errorf("%d %q (%s %s): %v", tc.ID, tc.Address, tc.Category, tc.Diagnosis, err)
		}
	}
	t.Logf("%d of %d agree, %d differ for a reason", agreed, len(suite.Tests), excepted)
	if agreed < 140 {
		t.Errorf("only %d agree: was the suite read?", agreed)
	}
}

// isemailException says why a verdict differs on purpose.
func isemailException(tc isemailCase) string {
	switch tc.Diagnosis {
	case "ISEMAIL_RFC5322_LOCAL_TOOLONG", "ISEMAIL_RFC5322_TOOLONG":
		return "local-parts up to 255 octets are accepted (VERP, SRS)"
	case "ISEMAIL_RFC5321_IPV6DEPRECATED":
		return "\"::\" for one group is an address by RFC 4291 section 2.2, though RFC 5321 would not write it"
	}
	return ""
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"<>", "<a@b>", `<"a\"b"@c>`, "<@a,@b:c@d> X=Y", "a@b", "<ü@ü.test>", "<a@[IPv6:::1]>", "<postmaster>"} {
		f.Add(s)
	}
	seedChasquid(f, "normalize")
	f.Fuzz(func(t *testing.T, s string) {
		p, rest, err := ParsePath(s)
		if err != nil {
			return
		}
		if !strings.HasSuffix(s, rest) {
			t.Fatalf("rest %q is no end of %q", rest, s)
		}
		wire := string(p.AppendWire(nil))
		if hasControl(wire) {
			t.Fatalf("control in %q", wire)
		}
		again, rest, err := ParsePath(wire)
		if err != nil || again != p || rest != "" {
			t.Fatalf("%q: %+v formatted as %q, parsed as %+v, %q, %v", s, p, wire, again, rest, err)
		}
		if again.Key() != p.Key() || (Path{LocalKey(p.Local), p.Domain}).Key() != p.Key() {
			t.Fatalf("%q: key is not stable: %q", s, p.Key())
		}
	})
}

// seedChasquid adds the first string of each seed of chasquid's fuzz corpus.
func seedChasquid(f *testing.F, name string) {
	dir := filepath.Join("..", "..", "..", "shared", "testdata", "smtp-fuzz-chasquid", name)
	files, _ := filepath.Glob(filepath.Join(dir, "testdata", "fuzz", "*", "*"))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("<" + string(data) + ">")
		for line := range strings.Lines(string(data)) {
			if i := strings.IndexByte(line, '"'); i >= 0 {
				f.Add("<" + strings.Trim(line[i:], "\")\n") + ">")
			}
		}
	}
}

// TestQuotingAgreesWithPostfix takes the lines of Postfix's quote_822_local
// test that speak of whole mailboxes.
func TestQuotingAgreesWithPostfix(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "testdata", "smtp-postfix", "global", "quote_822_local.ref"))
	if err != nil {
		t.Skipf("suite smtp-postfix is not here: %v", err)
	}
	checked := 0
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), "'") // 'a' quoted 'b'
		if len(f) != 5 || strings.Contains(f[2], "flags") || !strings.Contains(f[1]+f[3], "@d") {
			continue
		}
		raw, quoted := f[1], f[3]
		if strings.Contains(f[2], "unquoted") {
			raw, quoted = quoted, raw
		}
		at := strings.LastIndexByte(raw, '@')
		p := Path{Local: raw[:at], Domain: raw[at+1:]}
		if strings.Count(quoted[strings.LastIndexByte(quoted, '"'):], "@") != 1 {
			continue // two domains: Postfix unquotes what is no mailbox
		}
		checked++
		if got, err := ParseMailbox(quoted); err != nil || got != p || p.String() != quoted {
			t.Errorf("%s: %+v, %v, want %+v as %s", quoted, got, err, p, p)
		}
	}
	if checked < 2 {
		t.Errorf("only %d lines were usable", checked)
	}
}
