package tenant

import (
	"errors"
	"strings"

	"github.com/postern-mail/postern/internal/yamlfile"
)

// maxFileOctets bounds tenants.yaml: about 140,000 domains. Chosen by what the
// YAML parser costs: 100,000 domains (12 MB) took 4 to 15 s of a core and 0.9 GiB
// of memory for that time; the Snapshot itself takes 47 MiB.
const maxFileOctets = 16 << 20

// File is tenants.yaml as it is written (doc.go shows one).
type File struct {
	// Postmaster is the mailbox that the bare <postmaster> reaches; it must be
	// in a domain of this file. Empty: postmaster at the first domain.
	Postmaster string       `yaml:"postmaster"`
	Tenants    []FileTenant `yaml:"tenants"`
}

// FileTenant is one customer.
type FileTenant struct {
	ID              string       `yaml:"id"`
	Name            string       `yaml:"name"`
	Region          string       `yaml:"region"`
	Outbound        *FileHop     `yaml:"outbound"` // nil: MX of each domain
	Domains         []FileDomain `yaml:"domains"`
	Users           []FileUser   `yaml:"users"`
	TrustedNetworks []string     `yaml:"trusted_networks"`
}

// FileDomain is one domain that mail is accepted for. Recipients nil with Any
// false is a problem; an empty list is not (postmaster and abuse only).
type FileDomain struct {
	Name           string   `yaml:"name"`
	Recipients     []string `yaml:"recipients"` // local-parts
	Any            bool     `yaml:"any"`
	Subaddress     string   `yaml:"subaddress"` // one character, "" is off
	NextHop        FileHop  `yaml:"next_hop"`
	MaxConnections int      `yaml:"max_connections"`
	TLS            string   `yaml:"tls"` // "" is opportunistic
}

// FileHop is either Hosts or MX.
type FileHop struct {
	Hosts []string `yaml:"hosts"` // "name", "name:port", "192.0.2.1:25", "[2001:db8::1]:25"; port 25 when absent
	MX    string   `yaml:"mx"`
}

// FileUser is one submission user. Its password is an Argon2id hash, as
// `postern password` prints it.
type FileUser struct {
	Login     string   `yaml:"login"`
	Password  string   `yaml:"password" secret:"true"`
	Addresses []string `yaml:"addresses"`
	Domains   []string `yaml:"domains"`
}

// Load reads and compiles a file. Problems of the file come as
// yamlfile.Problems, with line and column; a file that is not there as an
// error that is fs.ErrNotExist.
func Load(path string) (*Snapshot, error) {
	var file File
	doc, err := yamlfile.Read(path, maxFileOctets, &file)
	return finish(doc, err, file)
}

// Parse is Load for octets in memory; name is only shown.
func Parse(name string, src []byte) (*Snapshot, error) {
	var file File
	doc, err := yamlfile.Decode(name, src, &file)
	return finish(doc, err, file)
}

// Compile makes a Snapshot of a File that was built in memory. Problems name
// the path, such as tenants[0].domains[1].name, and no line.
func Compile(file File) (*Snapshot, error) {
	s, problems := compile(file)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// finish compiles what was decoded, also when there were problems, so that
// all of them are named at once.
func finish(doc *yamlfile.Document, err error, file File) (*Snapshot, error) {
	var all yamlfile.Problems
	if err != nil && (!errors.As(err, &all) || doc == nil) {
		return nil, err
	}
	written := len(all)
	s, problems := compile(file)
	for _, p := range problems {
		if !follows(p, all[:written], doc) {
			all = append(all, doc.Explain(p))
		}
	}
	if err := all.Err(); err != nil {
		return nil, err
	}
	s.revision = doc.Sum()
	return s, nil
}

// follows reports whether p is but the consequence of a problem named while
// decoding: the same value, or one that is missing where a key was unknown.
func follows(p yamlfile.Problem, earlier yamlfile.Problems, doc *yamlfile.Document) bool {
	for _, e := range earlier {
		if e.Path == p.Path {
			return true
		}
		if !doc.Has(p.Path) && strings.HasPrefix(p.Path, e.Path) {
			return true
		}
	}
	return false
}
