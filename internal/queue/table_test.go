package queue

import (
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/postern-mail/postern/internal/envelope"
)

func TestTheTableFindsAndOrdersItsItems(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tb := newTable()
		type model struct {
			id  envelope.ID
			hop uint32
			due int64
		}
		known := map[ref]model{}
		for range rapid.IntRange(1, 300).Draw(rt, "steps") {
			switch rapid.IntRange(0, 2).Draw(rt, "step") {
			case 0, 1:
				id := envelope.NewID(testInc, rapid.Uint64Range(1, 40).Draw(rt, "seq"))
				hop := rapid.Uint32Range(1, 4).Draw(rt, "hop")
				if tb.find(id, hop) != 0 {
					continue
				}
				r := tb.add(id, hop)
				tb.at(r).phase, tb.at(r).due = waiting, rapid.Int64Range(0, 50).Draw(rt, "due")
				tb.push(r)
				known[r] = model{id, hop, tb.at(r).due}
			default:
				for r := range known {
					tb.pull(r)
					tb.remove(r)
					delete(known, r)
					break
				}
			}
			for r, m := range known {
				if tb.find(m.id, m.hop) != r {
					rt.Fatalf("item %d is not found", r)
				}
			}
			if tb.count != len(known) || len(tb.heap) != len(known) {
				rt.Fatalf("%d items, %d in the heap, want %d", tb.count, len(tb.heap), len(known))
			}
		}
		var dues []int64
		for len(tb.heap) > 0 {
			r := tb.heap[0]
			dues = append(dues, tb.at(r).due)
			tb.pull(r)
			tb.remove(r)
		}
		if !slices.IsSorted(dues) || tb.count != 0 {
			rt.Fatalf("order %v, %d left", dues, tb.count)
		}
	})
}

func TestAListGivesWhatItGotInOrder(t *testing.T) {
	tb, l := newTable(), list{}
	var refs []ref
	for i := range 5 {
		r := tb.add(envelope.NewID(testInc, uint64(i)), 1)
		tb.link(&l, r)
		refs = append(refs, r)
	}
	for _, r := range []ref{refs[2], refs[0], refs[4]} {
		tb.unlink(&l, r)
	}
	if l.head != refs[1] || l.tail != refs[3] || l.n != 2 || tb.at(refs[1]).next != refs[3] || tb.at(refs[3]).prev != refs[1] {
		t.Errorf("list %+v", l)
	}
}

func TestAWaitingItemCostsAtMost100Octets(t *testing.T) {
	if n := unsafe.Sizeof(item{}); n != 64 {
		t.Errorf("an item is %d octets", n)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const n = 1_000_000
	before := heap()
	tb := newTable()
	for i := range uint64(n) {
		r := tb.add(envelope.NewID(testInc, i), 1)
		tb.at(r).due = int64(i * 7919 % n)
		tb.push(r)
	}
	each := float64(heap()-before) / n
	t.Logf("%.1f octets for each of %d waiting items", each, n)
	if each > 100 {
		t.Errorf("%.1f octets each", each)
	}
	runtime.KeepAlive(tb)
}
