package envelope

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strings"
)

// ID names one message for ever: the incarnation of the node's data directory
// (80 random bits) and a 48-bit sequence. It is never derived from a clock.
// The zero value names nothing.
type ID [16]byte

// Incarnation is the first ten octets of an ID. The zero value names nothing.
type Incarnation [10]byte

// MinSuffix is the least number of characters of a printed ID that a person
// may give instead of the whole.
const MinSuffix = 8

// alphabet is Crockford's: no I, L, O, U, so that an ID survives a telephone.
var alphabet = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// ErrID is what ParseID returns for anything that is not a printed ID.
var ErrID = errors.New("not a message ID: want 26 characters of base32")

// NewID joins an incarnation and a sequence number below 1<<48.
func NewID(inc Incarnation, seq uint64) ID {
	var id ID
	copy(id[:10], inc[:])
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], seq)
	copy(id[10:], b[2:])
	return id
}

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// Incarnation returns the incarnation that drew id.
func (id ID) Incarnation() Incarnation { return Incarnation(id[:10]) }

// Sequence returns the 48-bit sequence number.
func (id ID) Sequence() uint64 {
	var b [8]byte
	copy(b[2:], id[10:])
	return binary.BigEndian.Uint64(b[:])
}

// String returns the 26 characters that people see.
func (id ID) String() string {
	var b [26]byte
	alphabet.Encode(b[:], id[:])
	return string(b[:])
}

// MarshalText implements encoding.TextMarshaler with String's form; the zero
// ID is the empty text.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// ParseID reads the 26 characters that String prints, in either case.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 26 {
		return ID{}, ErrID
	}
	n, err := alphabet.Decode(id[:], []byte(strings.ToUpper(s)))
	if err != nil || n != len(id) || id.String() != strings.ToUpper(s) {
		return ID{}, ErrID
	}
	return id, nil
}

// String returns the 16 characters that name the incarnation's directory.
func (inc Incarnation) String() string { return alphabet.EncodeToString(inc[:]) }

// ParseIncarnation reads what Incarnation.String prints.
func ParseIncarnation(s string) (Incarnation, error) {
	var inc Incarnation
	if len(s) != 16 {
		return inc, ErrID
	}
	if _, err := alphabet.Decode(inc[:], []byte(s)); err != nil || inc.String() != s {
		return Incarnation{}, ErrID
	}
	return inc, nil
}
