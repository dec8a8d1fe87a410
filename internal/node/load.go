package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/yamlfile"
)

// DefaultFile is read when no file is named and it exists.
const DefaultFile = "postern.yaml"

// maxFileOctets bounds postern.yaml. Chosen.
const maxFileOctets = 1 << 20

// Setting is one value given on the command line. From is how a person wrote
// it, "--listen-smtp", for messages.
type Setting struct {
	Path, Value, From string
}

// Options says where to read from. The zero value reads DefaultFile, if it
// exists, and nothing else.
type Options struct {
	File     string   // "" is DefaultFile, which may be absent
	Environ  []string // as os.Environ
	Settings []Setting
	// Machine names the machine where no hostname is configured; os.Hostname.
	Machine func() (string, error)
}

// Source is a kind of origin.
type Source string

// The sources, weakest first.
const (
	FromDefault Source = "default"
	FromMachine Source = "machine" // asked from the operating system
	FromFile    Source = "file"
	FromEnv     Source = "env"
	FromFlag    Source = "flag"
)

// Loaded is a valid Config and where each of its values comes from.
type Loaded struct {
	Config   Config
	File     string   // the file that was read, "" for none
	Warnings []string // what was ignored
	origins  map[string]origin
	doc      *yamlfile.Document // nil: no file
}

type origin struct {
	source Source
	where  string // "postern.yaml:12", "POSTERN_DATA", "--data"
}

// Default returns the Config without any file, environment or command line.
// Its Hostname is empty.
func Default() Config {
	var c Config
	for _, l := range leavesOf(&c) {
		if text := l.tag.Get("default"); text != "" {
			if err := l.set(text); err != nil {
				panic("node: default of " + l.path + ": " + err.Error()) // a test loads every default
			}
		}
	}
	return c
}

// Load reads all sources and checks the result. Problems come as
// yamlfile.Problems, all of them at once.
func Load(o Options) (*Loaded, error) {
	l := &loader{loaded: &Loaded{Config: Default(), origins: make(map[string]origin)}}
	l.leaves = leavesOf(&l.loaded.Config)
	if err := l.file(o.File); err != nil {
		return nil, err
	}
	l.environment(o.Environ)
	l.settings(o.Settings)
	l.machine(o.Machine)
	l.check()
	if err := l.problems.Err(); err != nil {
		return nil, err
	}
	return l.loaded, nil
}

type loader struct {
	loaded   *Loaded
	leaves   []leaf
	problems yamlfile.Problems
}

// file reads the node file. Only an unreadable file is an error; problems are
// gathered.
func (l *loader) file(name string) error {
	optional := name == ""
	if optional {
		name = DefaultFile
	}
	doc, err := yamlfile.Read(name, maxFileOctets, &l.loaded.Config)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil && !errors.As(err, &l.problems) {
		return err
	}
	l.loaded.doc, l.loaded.File = doc, name
	if doc == nil {
		return nil
	}
	for _, leaf := range l.leaves {
		if doc.Has(leaf.path) {
			l.loaded.origins[leaf.path] = origin{FromFile, fmt.Sprintf("%s:%d", name, doc.Line(leaf.path))}
		}
	}
	return nil
}

func (l *loader) environment(environ []string) {
	byEnv := make(map[string]leaf, len(l.leaves))
	names := make([]string, 0, len(l.leaves))
	for _, leaf := range l.leaves {
		byEnv[leaf.env()] = leaf
		names = append(names, leaf.env())
	}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "POSTERN_") || value == "" || reserved(name) {
			continue
		}
		leaf, known := byEnv[name]
		if !known {
			warning := name + " in the environment names no setting"
			if near := yamlfile.Nearest(name, names); near != "" {
				warning += "; did you mean " + near + "?"
			}
			l.loaded.Warnings = append(l.loaded.Warnings, warning)
			continue
		}
		l.set(leaf, value, origin{FromEnv, name})
	}
	slices.Sort(l.loaded.Warnings)
}

// reserved reports variables that others read: the command line its file, a
// drill build its fail points and weaknesses.
func reserved(name string) bool {
	return name == "POSTERN_CONFIG" || name == "POSTERN_FAILPOINT" || name == "POSTERN_WEAKEN"
}

func (l *loader) settings(settings []Setting) {
	for _, s := range settings {
		leaf, known := l.find(s.Path)
		if !known {
			p := problemAt(s.Path, "names no setting")
			if near := yamlfile.Nearest(s.Path, l.paths()); near != "" {
				p.Message += "; did you mean " + near + "?"
			}
			p.File = s.From
			l.problems = append(l.problems, p)
			continue
		}
		l.set(leaf, s.Value, origin{FromFlag, s.From})
	}
}

func (l *loader) set(leaf leaf, text string, from origin) {
	l.loaded.origins[leaf.path] = from
	if err := leaf.set(text); err != nil {
		message := err.Error()
		if leaf.secret() {
			message = "can't be read"
		}
		l.problem(problemAt(leaf.path, "%s", message))
	}
}

// problem notes p at the place where its leaf was set.
func (l *loader) problem(p yamlfile.Problem) {
	l.problems = append(l.problems, l.loaded.Explain(p))
}

// Explain returns p with the place where its setting was made. For what only
// the world outside can tell of a value: a file that is not there.
func (l *Loaded) Explain(p yamlfile.Problem) yamlfile.Problem {
	switch from := l.origins[p.Path]; from.source {
	case FromEnv, FromFlag:
		p.File = from.where
	case FromFile:
		p = l.doc.Explain(p)
	default: // a default that does not fit what was set: show what is above it
		section, _, _ := cutLast("."+p.Path, '.')
		if section = strings.TrimPrefix(section, "."); l.doc.Has(p.Path) || section != "" && l.doc.Has(section) {
			p = l.doc.Explain(p)
		} else if p.File = l.File; p.File == "" {
			p.File = "default"
		}
	}
	return p
}

// machine fills in the hostname when nobody gave one.
func (l *loader) machine(ask func() (string, error)) {
	if l.loaded.Config.Hostname != "" {
		return
	}
	if ask == nil {
		ask = os.Hostname
	}
	name, err := ask()
	if err == nil {
		name, err = smtp.DomainKey(name)
	}
	if err != nil {
		name = "localhost"
	}
	l.loaded.Config.Hostname = name
	l.loaded.origins["hostname"] = origin{FromMachine, ""}
}

func (l *loader) find(path string) (leaf, bool) {
	i := slices.IndexFunc(l.leaves, func(x leaf) bool { return x.path == path })
	if i < 0 {
		return leaf{}, false
	}
	return l.leaves[i], true
}

func (l *loader) paths() []string {
	all := make([]string, len(l.leaves))
	for i, leaf := range l.leaves {
		all[i] = leaf.path
	}
	return all
}
