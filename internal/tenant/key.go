package tenant

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/postern-mail/postern/internal/smtp"
)

// maxFolded is the room for a folded local-part or domain on the stack. RFC
// 5321 section 4.5.3.1 allows 64 and 255 octets.
const maxFolded = 256

// maxKey is the longest NextHop.Key. Chosen: it is a metric label, a log
// attribute and a column on a terminal.
const maxKey = 200

// foldPath writes the match form of p's halves into the spaces given and
// returns them. ok is false when p is too long to match anything.
func foldPath(localSpace, domainSpace *[maxFolded]byte, p smtp.Path) (local, domain []byte, ok bool) {
	local, ok = foldASCII(localSpace, p.Local)
	if !ok {
		return nil, nil, false
	}
	domain, ok = foldASCII(domainSpace, p.Domain)
	return local, domain, ok
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

// loginKey is the match form of a login: normal form C, lower case.
func loginKey(login string) string {
	return norm.NFC.String(strings.ToLower(norm.NFC.String(login)))
}

// boundKey shortens a next hop's key to maxKey octets, with a hash that keeps
// different ones apart.
func boundKey(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:maxKey-17] + "~" + hex.EncodeToString(sum[:8])
}
