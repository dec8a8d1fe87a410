package yamlfile

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

type wrapped struct{ time.Duration }

func (w *wrapped) UnmarshalText(b []byte) (err error) {
	w.Duration, err = time.ParseDuration(string(b))
	return err
}

type sample struct {
	Name  string   `yaml:"name"`
	Count int      `yaml:"count"`
	On    bool     `yaml:"on"`
	Wait  wrapped  `yaml:"wait"`
	Words []string `yaml:"words"`
	Token string   `yaml:"token" secret:"true"`
	Pass  wrapped  `yaml:"password" secret:"true"`
	Items []item   `yaml:"items"`
	Inner *item    `yaml:"inner"`
}

type item struct {
	ID   string `yaml:"id"`
	Port int    `yaml:"port"`
}

func TestEachKindOfMistakeIsNamedWithItsPlace(t *testing.T) {
	inputs, err := filepath.Glob("testdata/mistakes/*.yaml")
	if err != nil || len(inputs) < 10 {
		t.Fatalf("want at least 10 inputs, got %d (%v)", len(inputs), err)
	}
	for _, input := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(input), ".yaml"), func(t *testing.T) {
			src, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Decode("sample.yaml", src, new(sample))
			if err == nil {
				t.Fatal("no problem found")
			}
			golden(t, strings.TrimSuffix(input, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs\n--- got\n%s--- want\n%s", name, got, want)
	}
}

func TestAWholeFileIsRead(t *testing.T) {
	s := sample{Count: 7, Words: []string{"default"}}
	src := `
name: "12"
on: true
wait: 5s       # a comment
words: [a, "b c"]
items:
  - {id: x, port: 25}
  - id: y
inner:
  port: 1
`
	doc, err := Decode("s.yaml", []byte(src), &s)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "12" || !s.On || s.Wait.Duration != 5*time.Second || len(s.Words) != 2 || s.Words[1] != "b c" {
		t.Errorf("scalars wrong: %+v", s)
	}
	if s.Count != 7 {
		t.Errorf("an absent key changed its field to %d", s.Count)
	}
	if len(s.Items) != 2 || s.Items[0] != (item{"x", 25}) || s.Items[1].ID != "y" || s.Inner == nil || s.Inner.Port != 1 {
		t.Errorf("nested wrong: %+v %+v", s.Items, s.Inner)
	}
	for path, line := range map[string]int{"name": 2, "items[0].port": 7, "items[1].id": 8, "inner.port": 10, "words[1]": 5} {
		if got := doc.Line(path); got != line || !doc.Has(path) {
			t.Errorf("Line(%q) = %d, want %d", path, got, line)
		}
	}
	if doc.Has("count") || doc.Has("items[2]") || doc.Has("items[1].port") {
		t.Error("Has reports what is not written")
	}
}

func TestAMissingKeyIsShownAtWhatIsAboveIt(t *testing.T) {
	doc, err := Decode("s.yaml", []byte("items:\n  - port: 1\n  - port: 2\n"), new(sample))
	if err != nil {
		t.Fatal(err)
	}
	p := doc.Explain(Problem{Path: "items[1].id", Message: "is missing"})
	if p.Line != 3 || p.Column != 5 || p.File != "s.yaml" || !strings.Contains(p.Excerpt, "- port: 2") {
		t.Errorf("got %+v", p)
	}
}

func TestAnEmptyFileIsNoProblem(t *testing.T) {
	for _, src := range []string{"", "\n", "# only a comment\n", "---\n"} {
		doc, err := Decode("s.yaml", []byte(src), new(sample))
		if err != nil || doc == nil {
			t.Errorf("%q: %v", src, err)
		}
		if p := doc.Explain(Problem{Path: "name"}); p.Line != 0 {
			t.Errorf("%q: a place in an empty file: %+v", src, p)
		}
	}
}

func TestManyProblemsAreCut(t *testing.T) {
	src := "items:\n" + strings.Repeat("  - {nonsense: 1}\n", 500)
	_, err := Decode("s.yaml", []byte(src), new(sample))
	var ps Problems
	ok := errors.As(err, &ps)
	if !ok || len(ps) != maxProblems+1 || !strings.Contains(ps[maxProblems].Message, "450 more") {
		t.Errorf("got %d problems, last %v", len(ps), ps[len(ps)-1])
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	const planted = "plantedvalue"
	for _, src := range []string{
		"token: [plantedvalue]\n",
		"token: 4711\npassword: plantedvalue\n",
		"password: plantedvalue\n",
		"{password: plantedvalue, nam: x}\n",
		"name: [ $argon2id$v=19$m=1,t=1,p=1$plantedvalue$plantedvalue ]\n",
		"my_secret: plantedvalue\n",
	} {
		_, err := Decode("s.yaml", []byte(src), new(sample))
		if err == nil {
			t.Errorf("%q: no problem", src)
			continue
		}
		if strings.Contains(err.Error(), planted) || strings.Contains(err.Error(), "4711") {
			t.Errorf("%q: shown in\n%s", src, err)
		}
	}
}

func TestTheNearestKeyIsSuggested(t *testing.T) {
	for name, want := range map[string]string{"recipient": "recipients", "recipientz": "recipients", "zzz": "", "nam": "name"} {
		if got := Nearest(name, []string{"name", "recipients", "any"}); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("name: x\nitems: [{id: a}, {port: 1}]\n"))
	f.Add([]byte("a: &x b\nc: *x\n<<: {}\n"))
	f.Add([]byte("name: |\n  text\n---\nname: y\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 4096 {
			return
		}
		var s sample
		doc, err := Decode("s.yaml", src, &s)
		if err == nil && doc == nil {
			t.Fatal("neither document nor error")
		}
		if err != nil && len(err.Error()) == 0 {
			t.Fatal("an error without words")
		}
		doc.Explain(Problem{Path: "items[0].id"})
	})
}

func BenchmarkDecodeAList(b *testing.B) {
	var src strings.Builder
	src.WriteString("items:\n")
	for i := range 10000 {
		fmt.Fprintf(&src, "  - id: item%d\n    port: %d\n", i, i)
	}
	b.SetBytes(int64(src.Len()))
	for b.Loop() {
		if _, err := Decode("s.yaml", []byte(src.String()), new(sample)); err != nil {
			b.Fatal(err)
		}
	}
}
