package limit

import "sync/atomic"

// Bound is what every bound tells of itself.
type Bound interface {
	// Name is unique on a node, lower case with underscores; it ends in
	// "_octets" when octets are counted.
	Name() string
	// Max is the most that may be in use: of all, or of each key.
	Max() int64
	// InUse is what is in use now, over all keys.
	InUse() int64
	// Refusals counts the TryTake calls that were refused.
	Refusals() uint64
	// Misgiven counts the Give calls that had nothing to give back.
	Misgiven() uint64
}

// facts is what all bounds have.
type facts struct {
	name     string
	max      atomic.Int64
	inUse    atomic.Int64
	refusals atomic.Uint64
	misgiven atomic.Uint64
}

// Name implements Bound.
func (f *facts) Name() string { return f.name }

// Max implements Bound.
func (f *facts) Max() int64 { return f.max.Load() }

// SetMax changes the maximum for whoever comes next. What is held stays held.
func (f *facts) SetMax(n int64) { f.max.Store(n) }

// InUse implements Bound.
func (f *facts) InUse() int64 { return f.inUse.Load() }

// Refusals implements Bound.
func (f *facts) Refusals() uint64 { return f.refusals.Load() }

// Misgiven implements Bound.
func (f *facts) Misgiven() uint64 { return f.misgiven.Load() }

// tryTake compares and swaps, because add-and-look would let a large request
// that does not fit refuse a small one that does.
func (f *facts) tryTake(n int64) bool {
	for {
		used := f.inUse.Load()
		if n > f.max.Load()-used {
			f.refusals.Add(1)
			return false
		}
		if f.inUse.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (f *facts) give(n int64) {
	for {
		used := f.inUse.Load()
		left := used - n
		if left < 0 {
			left = 0
		}
		if f.inUse.CompareAndSwap(used, left) {
			if used < n {
				f.misgiven.Add(1)
			}
			return
		}
	}
}

// Octets is a budget of octets. It is safe for concurrent use and takes no
// lock.
type Octets struct{ facts }

// NewOctets makes a budget of max octets; 0 or less refuses everything but 0.
func NewOctets(name string, max int64) *Octets {
	o := new(Octets)
	o.name = name
	o.SetMax(max)
	return o
}

// TryTake takes n octets (0 or more) and reports whether they were there. It
// takes all or nothing.
func (o *Octets) TryTake(n int64) bool {
	if o == nil || n <= 0 {
		return true
	}
	return o.tryTake(n)
}

// Give gives n octets back.
func (o *Octets) Give(n int64) {
	if o == nil || n <= 0 {
		return
	}
	o.give(n)
}

// Count is a number of things at once: connections, deliveries. It is safe for
// concurrent use and takes no lock.
type Count struct{ facts }

// NewCount makes a bound of max things; 0 or less refuses everything.
func NewCount(name string, max int64) *Count {
	c := new(Count)
	c.name = name
	c.SetMax(max)
	return c
}

// TryTake takes one and reports whether it was there.
func (c *Count) TryTake() bool { return c == nil || c.tryTake(1) }

// Give gives one back.
func (c *Count) Give() {
	if c != nil {
		c.give(1)
	}
}
