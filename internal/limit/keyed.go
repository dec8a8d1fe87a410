package limit

import (
	"hash/maphash"
	"net/netip"
	"sync"
)

// shards is how many locks a Keyed spreads its keys over. Chosen: more than
// the cores of the machines that Postern is run on contend for at once.
const shards = 32

// Keyed is a number of things at once for each key: deliveries to one next
// hop, sessions of one user. It is safe for concurrent use.
type Keyed[K comparable] struct {
	facts
	seed  maphash.Seed
	shard [shards]shard[K]
}

type shard[K comparable] struct {
	mu   sync.Mutex
	held map[K]int64
	_    [48]byte // a cache line each
}

// NewKeyed makes a bound of max things for each key; 0 or less refuses
// everything.
func NewKeyed[K comparable](name string, max int64) *Keyed[K] {
	k := &Keyed[K]{seed: maphash.MakeSeed()}
	k.name = name
	k.SetMax(max)
	return k
}

func (k *Keyed[K]) of(key K) *shard[K] {
	return &k.shard[maphash.Comparable(k.seed, key)%shards]
}

// TryTake takes one for key and reports whether it was there.
func (k *Keyed[K]) TryTake(key K) bool {
	return k == nil || k.TryTakeUpTo(key, k.max.Load())
}

// TryTakeUpTo is TryTake with a maximum of this key's own.
func (k *Keyed[K]) TryTakeUpTo(key K, max int64) bool {
	if k == nil {
		return true
	}
	s := k.of(key)
	s.mu.Lock()
	n := s.held[key]
	fits := n < max
	if fits {
		if s.held == nil {
			s.held = make(map[K]int64)
		}
		s.held[key] = n + 1
	}
	s.mu.Unlock()
	if fits {
		k.inUse.Add(1)
	} else {
		k.refusals.Add(1)
	}
	return fits
}

// Give gives one back for key.
func (k *Keyed[K]) Give(key K) {
	if k == nil {
		return
	}
	s := k.of(key)
	s.mu.Lock()
	n := s.held[key]
	if n > 1 {
		s.held[key] = n - 1
	} else {
		delete(s.held, key)
	}
	s.mu.Unlock()
	if n > 0 {
		k.inUse.Add(-1)
	} else {
		k.misgiven.Add(1)
	}
}

// Held returns how many key has now.
func (k *Keyed[K]) Held(key K) int64 {
	if k == nil {
		return 0
	}
	s := k.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[key]
}

// Keys returns how many keys hold something now.
func (k *Keyed[K]) Keys() int {
	if k == nil {
		return 0
	}
	n := 0
	for i := range k.shard {
		s := &k.shard[i]
		s.mu.Lock()
		n += len(s.held)
		s.mu.Unlock()
	}
	return n
}

// The prefixes that one party is taken to be behind, unless configured
// otherwise: an IPv4 address, and for IPv6 the /64 that RFC 6177 section 2
// makes the least a site is given.
const (
	DefaultIPv4Bits = 32
	DefaultIPv6Bits = 64
)

// Networks is a number of things at once for each peer network. It is safe for
// concurrent use. An IPv4-mapped IPv6 address counts as IPv4; a zone is
// ignored; the zero Addr is a network of its own.
type Networks struct {
	*Keyed[netip.Prefix]
	v4, v6 int
}

// NewNetworks makes a bound of max things for each network of v4 bits (1 to
// 32; else 32) or v6 bits (1 to 128; else 64).
func NewNetworks(name string, max int64, v4, v6 int) *Networks {
	if v4 < 1 || v4 > 32 {
		v4 = DefaultIPv4Bits
	}
	if v6 < 1 || v6 > 128 {
		v6 = DefaultIPv6Bits
	}
	return &Networks{NewKeyed[netip.Prefix](name, max), v4, v6}
}

// Network returns the network that a counts for.
func (n *Networks) Network(a netip.Addr) netip.Prefix {
	if n == nil || !a.IsValid() {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := n.v6
	if a.Is4() {
		bits = n.v4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // cannot be: bits fit the family
	}
	return p
}

// TryTake takes one for a's network and reports whether it was there.
func (n *Networks) TryTake(a netip.Addr) bool {
	return n == nil || n.Keyed.TryTake(n.Network(a))
}

// Give gives one back for a's network.
func (n *Networks) Give(a netip.Addr) {
	if n != nil {
		n.Keyed.Give(n.Network(a))
	}
}

// Held returns how many a's network has now.
func (n *Networks) Held(a netip.Addr) int64 {
	if n == nil {
		return 0
	}
	return n.Keyed.Held(n.Network(a))
}
