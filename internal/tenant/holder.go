package tenant

import "sync/atomic"

// Holder holds the Snapshot in force and lets it be swapped atomically. The
// zero value holds an empty Snapshot. It is safe for concurrent use.
type Holder struct {
	current atomic.Pointer[Snapshot]
}

// NewHolder returns a Holder of s; nil means one that serves nobody.
func NewHolder(s *Snapshot) *Holder {
	h := new(Holder)
	if s != nil {
		h.current.Store(s)
	}
	return h
}

// Current returns the Snapshot in force, never nil. A transaction keeps the
// one it began with.
func (h *Holder) Current() *Snapshot {
	if s := h.current.Load(); s != nil {
		return s
	}
	return new(Snapshot)
}

// Swap puts s in force and returns the one before, nil when there was none.
func (h *Holder) Swap(s *Snapshot) *Snapshot { return h.current.Swap(s) }
