package tenant

import "github.com/postern-mail/postern/internal/smtp"

// User is one submission user. It is immutable. Its password hash is not
// exported and prints nowhere.
type User struct {
	Login  string // as written in the file
	Tenant string // tenant ID
	Region string

	hash      string
	addresses []string // path keys, sorted
	domains   []string // domain keys, sorted
	snapshot  *Snapshot
}

// MaySend reports whether p is an address of u's own: one of its addresses
// (with a subaddress, where the domain has them) or any address of its
// domains. The null reverse-path is allowed, because a user agent that sends
// a disposition notification must use it (RFC 8098 section 3).
func (u *User) MaySend(p smtp.Path) bool {
	if p.IsNull() {
		return true
	}
	var localSpace, domainSpace [maxFolded]byte
	local, domainKey, ok := foldPath(&localSpace, &domainSpace, p)
	if !ok || len(domainKey) == 0 {
		return false
	}
	if holds(u.domains, domainKey) || holds(u.addresses, joinKey(local, domainKey)) {
		return true
	}
	d := u.snapshot.domains[string(domainKey)]
	if d == nil {
		return false
	}
	base := d.base(local)
	return len(base) < len(local) && holds(u.addresses, joinKey(base, domainKey))
}

// String names u without its secret.
func (u *User) String() string { return u.Tenant + "/" + u.Login }

// joinKey is the form in which User holds its addresses. The local-part is
// not quoted: '@' inside it cannot be confused, the domain has none.
func joinKey(local, domainKey []byte) []byte {
	joined := make([]byte, 0, len(local)+1+len(domainKey))
	joined = append(joined, local...)
	joined = append(joined, '@')
	return append(joined, domainKey...)
}
