package tenant

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/argon2id"
)

// withUser compiles one user whose password costs little to check.
func withUser(t testing.TB, password string) *Snapshot {
	t.Helper()
	hash, err := argon2id.CreateHash(password, &argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile(File{Tenants: []FileTenant{{
		ID:      "acme",
		Domains: []FileDomain{{Name: "example.test", Any: true, NextHop: FileHop{MX: "example.test"}}},
		Users:   []FileUser{{Login: "alice", Password: hash, Addresses: []string{"alice@example.test"}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOnlyTheRightPasswordOfAKnownUserIsAccepted(t *testing.T) {
	s, p := withUser(t, "right"), NewPasswords(PasswordsConfig{})
	for range 2 { // the second time from memory
		u, err := p.Verify(t.Context(), s, "ALICE", "right")
		if err != nil || u.Login != "alice" {
			t.Fatalf("got %v, %v", u, err)
		}
		for _, c := range [][2]string{{"alice", "wrong"}, {"alice", ""}, {"bob", "right"}, {"", ""}, {"alice", strings.Repeat("x", 2000)}} {
			if u, err := p.Verify(t.Context(), s, c[0], c[1]); !errors.Is(err, ErrPassword) || u != nil {
				t.Errorf("%q, %.10q: got %v, %v", c[0], c[1], u, err)
			}
		}
	}
	if _, err := p.Verify(t.Context(), new(Snapshot), "alice", "right"); !errors.Is(err, ErrPassword) {
		t.Errorf("nobody served: got %v", err)
	}
}

func TestASuccessIsRememberedForItsTimeAndUntilAReload(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	p := NewPasswords(PasswordsConfig{CacheFor: time.Minute, Now: func() time.Time { return now }})
	s := withUser(t, "right")
	verify := func(s *Snapshot, wantHits, wantChecks int64) {
		t.Helper()
		if _, err := p.Verify(t.Context(), s, "alice", "right"); err != nil {
			t.Fatal(err)
		}
		if got := p.Stats(); got.Hits != wantHits || got.Checks != wantChecks {
			t.Fatalf("got %d hits, %d checks, want %d, %d", got.Hits, got.Checks, wantHits, wantChecks)
		}
	}
	verify(s, 0, 1)
	verify(s, 1, 1)
	now = now.Add(time.Minute)
	verify(s, 1, 2)
	verify(s, 2, 2)
	reloaded := withUser(t, "right")
	verify(reloaded, 2, 3)
	if _, err := p.Verify(t.Context(), withUser(t, "changed"), "alice", "right"); !errors.Is(err, ErrPassword) {
		t.Fatalf("the old password still counts: %v", err)
	}
}

func TestAFailureIsNotRemembered(t *testing.T) {
	s, p := withUser(t, "right"), NewPasswords(PasswordsConfig{})
	for range 3 {
		if _, err := p.Verify(t.Context(), s, "alice", "wrong"); !errors.Is(err, ErrPassword) {
			t.Fatal(err)
		}
	}
	if got := p.Stats(); got.Hits != 0 || got.Checks != 3 || len(p.known) != 0 {
		t.Errorf("got %+v, %d remembered", got, len(p.known))
	}
}

func TestTheMemoryOfSuccessesIsBounded(t *testing.T) {
	s, p := withUser(t, "right"), NewPasswords(PasswordsConfig{CacheEntries: 3})
	p.remembers(s, [32]byte{})
	for i := range 10 {
		p.remember(s, p.mark("alice", "hash", fmt.Sprint(i)))
		if len(p.known) > 3 {
			t.Fatalf("%d remembered", len(p.known))
		}
	}
	never := NewPasswords(PasswordsConfig{CacheFor: -1})
	for range 2 {
		if _, err := never.Verify(t.Context(), s, "alice", "right"); err != nil {
			t.Fatal(err)
		}
	}
	if never.Stats().Hits != 0 {
		t.Error("remembered although switched off")
	}
}

func TestThePasswordIsNotKeptInMemory(t *testing.T) {
	s, p := withUser(t, "planted-password"), NewPasswords(PasswordsConfig{})
	if _, err := p.Verify(t.Context(), s, "alice", "planted-password"); err != nil {
		t.Fatal(err)
	}
	if shown := fmt.Sprintf("%+v", p.known); strings.Contains(shown, "planted") || len(p.known) != 1 {
		t.Errorf("remembered: %s", shown)
	}
}

func TestMoreChecksThanTheBoundWaitOrAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := withUser(t, "right"), NewPasswords(PasswordsConfig{Concurrent: 1, Waiting: 1})
		p.bound.TryTake()
		p.slots <- struct{}{} // a check that runs
		var waited sync.WaitGroup
		waited.Go(func() {
			if _, err := p.Verify(context.Background(), s, "alice", "right"); err != nil {
				t.Errorf("the one that may wait: %v", err)
			}
		})
		synctest.Wait()
		if _, err := p.Verify(context.Background(), s, "alice", "right"); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
		if got := p.Stats(); got.Running != 1 || got.Waiting != 1 || got.Refused != 1 || p.Bound().InUse() != 2 {
			t.Errorf("stats %+v", got)
		}
		<-p.slots
		waited.Wait()
		p.slots <- struct{}{}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := p.Verify(ctx, s, "alice", "wrong"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting past its deadline: %v", err)
		}
		if _, err := p.Verify(ctx, s, "alice", "right"); err != nil {
			t.Errorf("a remembered user was kept out: %v", err)
		}
	})
}

func TestAnUnknownLoginCostsWhatAWrongPasswordCosts(t *testing.T) {
	s, p := withUser(t, "right"), NewPasswords(PasswordsConfig{})
	wrong, _, _, err := argon2id.DecodeHash(s.users["alice"].hash)
	if err != nil {
		t.Fatal(err)
	}
	decoy, _, _, err := argon2id.DecodeHash(s.decoy)
	if err != nil || *decoy != *wrong {
		t.Errorf("decoy %+v, users %+v (%v)", decoy, wrong, err)
	}
	if _, err := p.Verify(t.Context(), s, "nobody", "right"); !errors.Is(err, ErrPassword) || p.Stats().Checks != 1 {
		t.Errorf("no hash was computed: %v, %+v", err, p.Stats())
	}
}

func TestAHashOfOursIsAccepted(t *testing.T) {
	hash, err := Hash("a password")
	if err != nil || checkHash(hash) != "" {
		t.Fatalf("%q: %v, %s", hash, err, checkHash(hash))
	}
	if _, err := Hash(""); err == nil {
		t.Error("an empty password was hashed")
	}
	if _, err := Hash(strings.Repeat("x", 1025)); err == nil {
		t.Error("an endless password was hashed")
	}
}

func BenchmarkVerifyComputed(b *testing.B) {
	hash, err := Hash("right")
	if err != nil {
		b.Fatal(err)
	}
	s := withUser(b, "right")
	s.users["alice"].hash = hash
	p := NewPasswords(PasswordsConfig{CacheFor: -1})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Verify(b.Context(), s, "alice", "right"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyRemembered(b *testing.B) {
	s, p := withUser(b, "right"), NewPasswords(PasswordsConfig{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Verify(b.Context(), s, "alice", "right"); err != nil {
			b.Fatal(err)
		}
	}
}
