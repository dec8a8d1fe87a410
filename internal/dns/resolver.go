package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Resolver answers what the mail path asks. Implementations are safe for
// concurrent use. Names are A-labels in any case, with or without the final
// dot. Every error is an *Error.
type Resolver interface {
	// MX returns the MX records of domain by ascending preference, in the
	// order of the answer where preferences are equal.
	MX(ctx context.Context, domain string) (MXAnswer, error)
	// Addrs returns the addresses of host, IPv6 first. NoSuchType means that
	// host has neither A nor AAAA.
	Addrs(ctx context.Context, host string) (AddrAnswer, error)
}

// Facts is what is known about an answer besides its records.
type Facts struct {
	// Authentic: a validating upstream that we trust vouches for it (AD bit).
	Authentic bool
	// Stale: no upstream could be asked, and this is what was last known.
	Stale bool
	// TTL is how long the answer may still be used; 0 when Stale.
	TTL time.Duration
}

// MX is one record: Host is lower-case, without the final dot; "" is the root.
type MX struct {
	Preference uint16
	Host       string
}

// MXAnswer holds at least one record.
type MXAnswer struct {
	Facts
	Records []MX
}

// Null reports whether the answer is a null MX: a single record whose host is
// the root (RFC 7505 section 3).
func (a MXAnswer) Null() bool { return len(a.Records) == 1 && a.Records[0].Host == "" }

// AddrAnswer holds at least one address.
type AddrAnswer struct {
	Facts
	Addrs []netip.Addr
	// Incomplete: one of the two address families could not be asked.
	Incomplete bool
}

// Kind says what an error means. The zero value is no kind.
type Kind uint8

// The kinds.
const (
	// NoSuchName: the name does not exist, nor anything below it (RFC 8020).
	NoSuchName Kind = 1 + iota
	// NoSuchType: the name exists, without records of the type asked for.
	NoSuchType
	// CouldNotAsk: nothing is known.
	CouldNotAsk
)

// String returns the kind's word.
func (k Kind) String() string {
	switch k {
	case NoSuchName:
		return "no such name"
	case NoSuchType:
		return "no such record"
	case CouldNotAsk:
		return "could not ask"
	}
	return "unknown"
}

// Error is the only error type of a Resolver.
type Error struct {
	Name string // as asked, lower-case, without the final dot
	Type string // "MX", "A", "AAAA", or "A/AAAA" when both say the same
	Kind Kind
	// Server is the upstream that answered, or the last one asked; "" when
	// none was.
	Server string
	// LastGood is when this name last had records of this type, as far as the
	// cache remembers; zero when unknown. A NoSuchName for a name that was
	// good an hour ago deserves doubt.
	LastGood time.Time
	Err      error // what happened; nil when the answer itself says it all
}

// Error names the question, the server and what happened.
func (e *Error) Error() string {
	s := e.Type + " " + e.Name + ": " + e.Kind.String()
	if e.Server != "" {
		s += " (" + e.Server + ")"
	}
	if e.Err != nil {
		s = fmt.Sprintf("%s: %v", s, e.Err)
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of a resolver's error. Any other error, a cancelled
// context among them, is CouldNotAsk; nil is 0.
func KindOf(err error) Kind {
	if err == nil {
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return CouldNotAsk
}

// What an *Error may wrap, for callers and tests that look closer.
var (
	// ErrBusy: MaxOutstanding questions are open already.
	ErrBusy = errors.New("too many open questions")
	// ErrClosed: the Client was closed.
	ErrClosed = errors.New("resolver closed")
	// ErrNotAName: the text can't be a domain name, so that it can't exist.
	ErrNotAName = errors.New("not a domain name")
	// ErrLame: the upstream neither answered nor offers recursion.
	ErrLame = errors.New("upstream does not recurse")
)

// joinAddrs makes one answer of what A and AAAA said: addresses of either are
// an answer; else not knowing about either is not knowing.
func joinAddrs(name string, v6 AddrAnswer, err6 error, v4 AddrAnswer, err4 error) (AddrAnswer, error) {
	switch {
	case err6 == nil && err4 == nil:
		v6.Addrs = append(v6.Addrs, v4.Addrs...)
		v6.Authentic = v6.Authentic && v4.Authentic
		v6.Stale = v6.Stale || v4.Stale
		v6.TTL = min(v6.TTL, v4.TTL)
		return v6, nil
	case err6 == nil:
		v6.Incomplete = KindOf(err4) == CouldNotAsk
		return v6, nil
	case err4 == nil:
		v4.Incomplete = KindOf(err6) == CouldNotAsk
		return v4, nil
	case KindOf(err4) == CouldNotAsk:
		return AddrAnswer{}, err4
	case KindOf(err6) == CouldNotAsk:
		return AddrAnswer{}, err6
	}
	return AddrAnswer{}, joinRefusals(name, err6, err4)
}

// joinRefusals: both families say no. NoSuchName needs both to say it.
func joinRefusals(name string, err6, err4 error) error {
	e := &Error{Name: name, Type: "A/AAAA", Kind: NoSuchType}
	var e6, e4 *Error
	if !errors.As(err6, &e6) || !errors.As(err4, &e4) {
		return err4
	}
	if e6.Kind == NoSuchName && e4.Kind == NoSuchName {
		e.Kind = NoSuchName
	}
	e.Server, e.Err = e4.Server, e4.Err
	e.LastGood = e4.LastGood
	if e6.LastGood.After(e.LastGood) {
		e.LastGood = e6.LastGood
	}
	return e
}
