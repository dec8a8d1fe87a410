package spool

import "strings"

// interner numbers strings and forgets those that nobody uses any more.
type interner struct {
	byName map[string]uint32
	slots  []internSlot
	free   []uint32
}

type internSlot struct {
	name string
	refs int
}

func newInterner() interner { return interner{byName: map[string]uint32{}} }

func (n *interner) take(s string) uint32 {
	if i, ok := n.byName[s]; ok {
		n.slots[i].refs++
		return i
	}
	s = strings.Clone(s)
	slot := internSlot{name: s, refs: 1}
	var i uint32
	if k := len(n.free); k > 0 {
		i = n.free[k-1]
		n.free = n.free[:k-1]
		n.slots[i] = slot
	} else {
		i = uint32(len(n.slots))
		n.slots = append(n.slots, slot)
	}
	n.byName[s] = i
	return i
}

// takeOctets is take without making a string of a name that is known.
func (n *interner) takeOctets(b []byte) uint32 {
	if i, ok := n.byName[string(b)]; ok {
		n.slots[i].refs++
		return i
	}
	return n.take(string(b))
}

func (n *interner) give(i uint32) {
	if n.slots[i].refs--; n.slots[i].refs <= 0 {
		delete(n.byName, n.slots[i].name)
		n.slots[i] = internSlot{}
		n.free = append(n.free, i)
	}
}

func (n *interner) name(i uint32) string { return n.slots[i].name }
