package tenant

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/argon2id"

	"github.com/postern-mail/postern/internal/limit"
)

// ErrPassword is returned for a wrong password and for an unknown login
// alike.
var ErrPassword = errors.New("wrong login or password")

// ErrBusy is returned when the bound on password checks is reached. It is a
// temporary state: 454 4.7.0 on the wire (RFC 4954 section 4.7.1).
var ErrBusy = errors.New("too many password checks at once")

// maxPassword is the longest password that is looked at, in octets. Chosen.
const maxPassword = 1024

// HashParams returns the Argon2id parameters of new hashes: 19 MiB, 2 passes,
// 1 lane. OWASP Password Storage Cheat Sheet, the configuration with least
// memory and a second pass; about 20 ms of CPU.
func HashParams() *argon2id.Params {
	return &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}
}

// Hash returns the Argon2id hash of a password, as tenants.yaml holds it.
func Hash(password string) (string, error) {
	switch {
	case password == "":
		return "", errors.New("the password is empty")
	case len(password) > maxPassword:
		return "", errors.New("the password is longer than 1024 octets")
	}
	return argon2id.CreateHash(password, HashParams())
}

// PasswordsConfig holds the bounds of Passwords. Zero fields take the default.
type PasswordsConfig struct {
	Concurrent   int           // checks at once; 2. Each takes up to 64 MiB
	Waiting      int           // callers that may wait for one; 64
	CacheFor     time.Duration // how long a success is remembered; 5 min. Negative: never
	CacheEntries int           // successes remembered; 10,000 (about 1 MiB)
	Now          func() time.Time
}

// Passwords checks passwords with bounded memory and work. One serves a whole
// node, for all Snapshots; it is safe for concurrent use.
//
// Argon2id costs tens of milliseconds and megabytes by design, so that a user
// agent which logs in for every message, a hundred times a second, would take
// the machine down. Therefore a success is remembered for some minutes, as an
// HMAC over (login, stored hash, password) under a key that only this process
// knows; the password itself is not kept. A swapped Snapshot empties the
// memory, so that a changed or removed user is refused at once. Failures are
// not remembered: they are what the bound is for, and they cannot keep out
// users who are remembered.
type Passwords struct {
	cfg   PasswordsConfig
	key   [32]byte
	bound *limit.Count  // checks that run or wait
	slots chan struct{} // capacity Concurrent: a taken slot is a running check

	hits, checks atomic.Int64

	mu    sync.Mutex
	of    *Snapshot // whose successes known holds
	known map[[sha256.Size]byte]time.Time
}

// NewPasswords returns a Passwords with the bounds of cfg.
func NewPasswords(cfg PasswordsConfig) *Passwords {
	if cfg.Concurrent <= 0 {
		cfg.Concurrent = 2
	}
	if cfg.Waiting <= 0 {
		cfg.Waiting = 64
	}
	if cfg.CacheFor == 0 {
		cfg.CacheFor = 5 * time.Minute
	}
	if cfg.CacheEntries <= 0 {
		cfg.CacheEntries = 10_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Passwords{
		cfg: cfg, bound: limit.NewCount("password_checks", int64(cfg.Concurrent+cfg.Waiting)),
		slots: make(chan struct{}, cfg.Concurrent), known: make(map[[sha256.Size]byte]time.Time),
	}
	_, _ = rand.Read(p.key[:]) // never fails since Go 1.24
	return p
}

// PasswordStats says what Passwords did since it was made.
type PasswordStats struct {
	Running int   // checks now
	Waiting int   // callers waiting now
	Checks  int64 // hashes computed
	Hits    int64 // answered from memory
	Refused int64 // ErrBusy
}

// Stats returns p's occupancy and counters.
func (p *Passwords) Stats() PasswordStats {
	running := len(p.slots)
	return PasswordStats{
		Running: running, Waiting: max(0, int(p.bound.InUse())-running),
		Checks: p.checks.Load(), Hits: p.hits.Load(), Refused: int64(p.bound.Refusals()),
	}
}

// Bound is what p tells of its occupancy and refusals, "password_checks":
// those that run and those that wait.
func (p *Passwords) Bound() limit.Bound { return p.bound }

// Verify returns the user of s with that login and password. Unknown logins
// take as long as wrong passwords. The error is ErrPassword, ErrBusy, or
// ctx's when it ended while waiting.
func (p *Passwords) Verify(ctx context.Context, s *Snapshot, login, password string) (*User, error) {
	u, found := s.User(login)
	hash := s.decoy
	if found {
		hash = u.hash
	}
	if hash == "" || password == "" || len(password) > maxPassword {
		return nil, ErrPassword
	}
	mark := p.mark(login, hash, password)
	if found && p.remembers(s, mark) {
		p.hits.Add(1)
		return u, nil
	}
	match, err := p.compute(ctx, password, hash)
	if err != nil {
		return nil, err
	}
	if !match || !found {
		return nil, ErrPassword
	}
	p.remember(s, mark)
	return u, nil
}

// compute checks a password against a hash when a slot is free. It does not
// wait when too many wait already.
func (p *Passwords) compute(ctx context.Context, password, hash string) (match bool, err error) {
	if !p.bound.TryTake() {
		return false, ErrBusy
	}
	defer p.bound.Give()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-p.slots }()
	p.checks.Add(1)
	match, err = argon2id.ComparePasswordAndHash(password, hash)
	return match && err == nil, nil // a Snapshot holds no hash that can't be read
}

// mark is what is remembered of a success.
func (p *Passwords) mark(login, hash, password string) (mark [sha256.Size]byte) {
	mac := hmac.New(sha256.New, p.key[:])
	for _, part := range []string{loginKey(login), hash, password} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	mac.Sum(mark[:0])
	return mark
}

func (p *Passwords) remembers(s *Snapshot, mark [sha256.Size]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of != s {
		p.of = s
		clear(p.known)
		return false
	}
	until, ok := p.known[mark]
	return ok && p.cfg.Now().Before(until)
}

func (p *Passwords) remember(s *Snapshot, mark [sha256.Size]byte) {
	if p.cfg.CacheFor < 0 {
		return
	}
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of != s { // swapped while the hash was computed
		return
	}
	if len(p.known) >= p.cfg.CacheEntries {
		p.forget(now)
	}
	p.known[mark] = now.Add(p.cfg.CacheFor)
}

// forget drops what has expired, and any one entry when nothing has.
func (p *Passwords) forget(now time.Time) {
	for mark, until := range p.known {
		if !now.Before(until) {
			delete(p.known, mark)
		}
	}
	for mark := range p.known {
		if len(p.known) < p.cfg.CacheEntries {
			return
		}
		delete(p.known, mark)
	}
}
