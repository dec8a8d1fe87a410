package tenant

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/alexedwards/argon2id"

	"github.com/postern-mail/postern/internal/smtp"
)

// Bounds of the work that a stored hash may ask for. Chosen: the memory bound
// times the number of checks at once (Passwords) must fit a small machine.
const (
	maxHashMemory     = 64 * 1024 // KiB
	maxHashIterations = 10
)

// maxLogin is the longest login, in octets. Chosen: an address.
const maxLogin = 254

func (c *compiler) user(t *tenant, f *FileUser, path string) {
	u := &User{Login: f.Login, Tenant: t.id, Region: t.region, hash: f.Password, snapshot: c.s}
	if f.Password == "" {
		c.problem(path+".password", "is missing; `postern password` makes a hash")
	} else if reason := checkHash(f.Password); reason != "" {
		c.problem(path+".password", "%s; `postern password` makes a hash", reason)
	}
	c.ownership(t, u, f, path)
	switch {
	case f.Login == "":
		c.problem(path+".login", "is missing")
	case len(f.Login) > maxLogin:
		c.problem(path+".login", "has %d octets; at most %d", len(f.Login), maxLogin)
	case c.unique("login", loginKey(f.Login), path+".login"):
		c.s.users[loginKey(f.Login)] = u
	}
}

// ownership settles which reverse-paths u may use.
func (c *compiler) ownership(t *tenant, u *User, f *FileUser, path string) {
	if len(f.Addresses) == 0 && len(f.Domains) == 0 {
		c.problem(path+".addresses", "is missing; a user may send only from addresses listed here (or domains)")
	}
	for i, text := range f.Addresses {
		at := fmt.Sprintf("%s.addresses[%d]", path, i)
		p, err := smtp.ParseMailbox(text)
		if err != nil || p.Domain == "" {
			c.problem(at, "%q is not an address", text)
			continue
		}
		key, _ := smtp.DomainKey(p.Domain)
		if c.owns(t, key, at, text) {
			u.addresses = append(u.addresses, string(joinKey([]byte(smtp.LocalKey(p.Local)), []byte(key))))
		}
	}
	for i, text := range f.Domains {
		at := fmt.Sprintf("%s.domains[%d]", path, i)
		key, err := smtp.DomainKey(text)
		if err != nil {
			c.problem(at, "%q is not a domain name", text)
			continue
		}
		if c.owns(t, key, at, text) {
			u.domains = append(u.domains, key)
		}
	}
	slices.Sort(u.addresses)
	slices.Sort(u.domains)
}

// owns reports whether t has the domain; a problem when not.
func (c *compiler) owns(t *tenant, domainKey, path, text string) bool {
	if d := c.s.domains[domainKey]; d != nil && d.tenant == t {
		return true
	}
	c.problem(path, "%q is not in a domain of tenant %q", text, t.id)
	return false
}

// checkHash says what is wrong with a stored hash, without showing it.
func checkHash(hash string) string {
	params, salt, key, err := argon2id.DecodeHash(hash)
	switch {
	case err != nil:
		return "is not an Argon2id hash"
	case params.Memory > maxHashMemory || params.Iterations > maxHashIterations:
		return fmt.Sprintf("asks for more work than allowed (m at most %d, t at most %d)", maxHashMemory, maxHashIterations)
	case params.Iterations < 1 || params.Parallelism < 1 || params.Memory < 8 || len(salt) < 8 || len(key) < 16:
		return "is too weak (m at least 8, t and p at least 1, salt 8 and key 16 octets)"
	}
	return ""
}

// decoy makes the hash that unknown logins are checked against. It has the
// parameters that most users have, so that an unknown login takes as long as
// a wrong password, and a random key, so that nothing matches it.
func decoy(users map[string]*User) string {
	count := make(map[argon2id.Params]int)
	params := *HashParams()
	for _, u := range users {
		p, _, _, err := argon2id.DecodeHash(u.hash)
		if err != nil {
			continue
		}
		if count[*p]++; count[*p] > count[params] {
			params = *p
		}
	}
	random := make([]byte, params.SaltLength+params.KeyLength)
	_, _ = rand.Read(random) // never fails since Go 1.24
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", params.Memory, params.Iterations, params.Parallelism,
		encode(random[:params.SaltLength]), encode(random[params.SaltLength:]))
}
