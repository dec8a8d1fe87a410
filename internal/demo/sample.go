package demo

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/tenant"
)

// passwordLetters is the length of the sample password without its hyphens:
// 20 letters of 30 are 98 bits. Chosen.
const passwordLetters = 20

// sampleTenants returns tenants.yaml of the sample tenant.
func sampleTenants(password string) ([]byte, error) {
	hash, err := tenant.Hash(password)
	if err != nil {
		return nil, fmt.Errorf("hash the sample password: %w", err)
	}
	return fmt.Appendf(nil, `# The sample tenant of "postern serve --demo", written at the first start.
# Edit it and run "postern reload". mx.test is the built-in sample server.
postmaster: postmaster@example.test
tenants:
  - id: sample
    name: Sample customer
    domains:
      - name: example.test
        recipients: [alice, bob, carol]
        subaddress: "+"
        next_hop: {hosts: ["mx.test:25"]}
    users:
      - login: alice
        password: "%s"
        addresses: [alice@example.test]
`, hash), nil
}

// newPassword draws a password that survives being read aloud.
func newPassword() string {
	const alphabet = "abcdefghjkmnpqrstvwxyz23456789"
	var b strings.Builder
	for i, v := range randomOctets(passwordLetters) {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(alphabet[int(v)%len(alphabet)])
	}
	return b.String()
}

func randomOctets(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return b
}

// makeDirectory makes dir, whose name is durable then.
func makeDirectory(fsys durable.FS, dir string) error {
	if err := fsys.MkdirAll(dir); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	if err := fsys.SyncDir(path.Dir(dir)); err != nil {
		return fmt.Errorf("sync %s: %w", path.Dir(dir), err)
	}
	return nil
}

// ensure writes the file unless it exists, whole or not at all, and returns
// what it holds then.
func ensure(fsys durable.FS, name string, first func() ([]byte, error)) ([]byte, error) {
	content, err := read(fsys, name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return content, err
	}
	if content, err = first(); err != nil {
		return nil, err
	}
	return content, write(fsys, name, content)
}

func read(fsys durable.FS, name string) ([]byte, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("size of %s: %w", name, err), file.Close())
	}
	content := make([]byte, size)
	if _, err := file.ReadAt(content, 0); err != nil && size > 0 {
		return nil, errors.Join(fmt.Errorf("read %s: %w", name, err), file.Close())
	}
	return content, file.Close()
}

func write(fsys durable.FS, name string, content []byte) error {
	temporary := name + ".new"
	if err := fsys.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", temporary, err)
	}
	file, err := fsys.Create(temporary)
	if err != nil {
		return fmt.Errorf("create %s: %w", temporary, err)
	}
	_, err = file.WriteAt(content, 0)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", temporary, err)
	}
	if err := fsys.Rename(temporary, name); err != nil {
		return fmt.Errorf("rename %s: %w", temporary, err)
	}
	return fsys.SyncDir(path.Dir(name))
}
