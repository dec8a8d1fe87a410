package tenant

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/postern-mail/postern/internal/smtp"
)

// maxFolded is the room for a folded local-part or domain on the stack. RFC
// 5321 section 4.5.3.1 allows 64 and 255 octets.
const maxFolded = 256

// maxKey is the longest NextHop.Key. Chosen: it is a metric label, a log
// attribute and a column on a terminal.
const maxKey = 200

// foldPath returns the match form of p's halves: smtp.LocalKey and
// smtp.DomainKey. They lie in the spaces given when p is ASCII, so that
// nothing is allocated. ok is false when p can match nothing.
func foldPath(localSpace, domainSpace *[maxFolded]byte, p smtp.Path) (local, domain []byte, ok bool) {
	local, ok = foldASCII(localSpace, p.Local)
	if !ok {
		local = []byte(smtp.LocalKey(p.Local))
	}
	domain, ok = foldASCII(domainSpace, p.Domain)
	if ok {
		return local, trimRoot(domain), true
	}
	key, err := smtp.DomainKey(p.Domain)
	return local, []byte(key), err == nil
}

// trimRoot cuts the root's dot, as smtp.DomainKey does.
func trimRoot(domain []byte) []byte {
	if n := len(domain); n > 0 && domain[n-1] == '.' {
		return domain[:n-1]
	}
	return domain
}

// foldASCII writes s in lower case to space. ok is false when s is not ASCII
// or does not fit.
func foldASCII(space *[maxFolded]byte, s string) (folded []byte, ok bool) {
	if len(s) > len(space) {
		return nil, false
	}
	for i := range len(s) {
		b := s[i]
		if b >= 0x80 {
			return nil, false
		}
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		space[i] = b
	}
	return space[:len(s)], true
}

// loginKey is the match form of a login: that of a local-part.
func loginKey(login string) string { return smtp.LocalKey(login) }

// boundKey shortens a next hop's key to maxKey octets, with a hash that keeps
// different ones apart.
func boundKey(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:maxKey-17] + "~" + hex.EncodeToString(sum[:8])
}
