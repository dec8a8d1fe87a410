package queue

import (
	"encoding/binary"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
)

// ref names an item by its place in the table. Zero is no item.
type ref = uint32

// phase is where an item of the table stands.
type phase uint8

const (
	free    phase = iota
	waiting       // in the heap, until due
	ready         // in its next hop's list
	active        // in the hands of a lane or of the sweeper
	held          // never tried; counted and listed
)

// item is one message's part for one next hop. It is 64 octets and holds no
// pointer, so that a million of them cost 64 MB and the collector nothing.
type item struct {
	id       envelope.ID
	due      int64  // nanoseconds since the queue's epoch, monotonic
	arrival  uint32 // seconds since 1970
	size     uint32 // KiB of content, rounded up
	hop      uint32 // index into Queue.hops
	tenant   uint32 // index into Queue.tenants
	pos      uint32 // place in the heap, when waiting
	prev     ref    // neighbours in the hop's list, when ready
	next     ref    // and the next free item, when free
	chain    ref    // next item of the same bucket
	fresh    uint32 // 1 + slot in Queue.fresh; 0: the envelope is read from the store
	attempts uint16 // most attempts of any recipient, saturating
	phase    phase
	cause    cause.Cause // why the last attempt did not deliver
}

const (
	chunkBits  = 12 // 4,096 items, 256 KiB: chosen
	chunkItems = 1 << chunkBits
	shardCount = 1024 // so that doubling one shard's buckets moves few items
)

// table holds the items, finds them by ID, and orders those that wait. It is
// not safe for concurrent use.
type table struct {
	chunks [][]item
	free   ref
	used   uint32 // items ever handed out, the unused item 0 included
	count  int
	shards [shardCount]shard
	heap   []ref // min-heap by due of the items that wait
}

type shard struct {
	buckets []ref // length is a power of two
	count   uint32
}

func newTable() *table { return &table{used: 1} }

// at returns the item. The pointer stays good for the table's life.
func (t *table) at(r ref) *item { return &t.chunks[r>>chunkBits][r&(chunkItems-1)] }

// hash spreads the sequence number, which an outsider does not choose.
func hash(id envelope.ID) uint64 {
	return binary.BigEndian.Uint64(id[8:]) * 0x9E3779B97F4A7C15
}

// add makes an item for id and hop and enters it in the index. Its phase is
// free until the caller sets it.
func (t *table) add(id envelope.ID, hop uint32) ref {
	r := t.free
	if r != 0 {
		t.free = t.at(r).next
	} else {
		r = t.used
		if int(r>>chunkBits) == len(t.chunks) {
			t.chunks = append(t.chunks, make([]item, chunkItems))
		}
		t.used++
	}
	t.count++
	*t.at(r) = item{id: id, hop: hop}
	h := hash(id)
	s := &t.shards[h>>54]
	if int(s.count) >= len(s.buckets) {
		t.grow(s)
	}
	b := &s.buckets[uint32(h>>22)&uint32(len(s.buckets)-1)]
	t.at(r).chain = *b
	*b = r
	s.count++
	return r
}

func (t *table) grow(s *shard) {
	old := s.buckets
	s.buckets = make([]ref, max(4, 2*len(old)))
	mask := uint32(len(s.buckets) - 1)
	for _, r := range old {
		for r != 0 {
			it := t.at(r)
			b := &s.buckets[uint32(hash(it.id)>>22)&mask]
			r, it.chain, *b = it.chain, *b, r
		}
	}
}

// first returns the first item of id, or 0. more walks on.
func (t *table) first(id envelope.ID) ref {
	h := hash(id)
	s := &t.shards[h>>54]
	if len(s.buckets) == 0 {
		return 0
	}
	return t.same(s.buckets[uint32(h>>22)&uint32(len(s.buckets)-1)], id)
}

// more returns the next item of the same message after r, or 0.
func (t *table) more(r ref) ref { it := t.at(r); return t.same(it.chain, it.id) }

func (t *table) same(r ref, id envelope.ID) ref {
	for r != 0 && t.at(r).id != id {
		r = t.at(r).chain
	}
	return r
}

// find returns the item of id for hop, or 0.
func (t *table) find(id envelope.ID, hop uint32) ref {
	r := t.first(id)
	for r != 0 && t.at(r).hop != hop {
		r = t.more(r)
	}
	return r
}

// remove forgets an item that is in neither heap nor list.
func (t *table) remove(r ref) {
	it := t.at(r)
	h := hash(it.id)
	s := &t.shards[h>>54]
	p := &s.buckets[uint32(h>>22)&uint32(len(s.buckets)-1)]
	for *p != r {
		p = &t.at(*p).chain
	}
	*p = it.chain
	s.count--
	t.count--
	*it = item{next: t.free}
	t.free = r
}

// push enters r in the heap; its due is set. It reports whether r is now first.
func (t *table) push(r ref) bool {
	t.heap = append(t.heap, r)
	return t.up(len(t.heap)-1) == 0
}

// pull takes r out of the heap.
func (t *table) pull(r ref) {
	i, last := int(t.at(r).pos), len(t.heap)-1
	moved := t.heap[last]
	t.heap = t.heap[:last]
	if i == last {
		return
	}
	t.place(i, moved)
	if t.up(i) == i {
		t.down(i)
	}
}

func (t *table) place(i int, r ref) { t.heap[i] = r; t.at(r).pos = uint32(i) }

func (t *table) up(i int) int {
	r := t.heap[i]
	due := t.at(r).due
	for i > 0 {
		parent := (i - 1) / 2
		if t.at(t.heap[parent]).due <= due {
			break
		}
		t.place(i, t.heap[parent])
		i = parent
	}
	t.place(i, r)
	return i
}

func (t *table) down(i int) {
	r := t.heap[i]
	due := t.at(r).due
	for {
		child := 2*i + 1
		if child >= len(t.heap) {
			break
		}
		if child+1 < len(t.heap) && t.at(t.heap[child+1]).due < t.at(t.heap[child]).due {
			child++
		}
		if due <= t.at(t.heap[child]).due {
			break
		}
		t.place(i, t.heap[child])
		i = child
	}
	t.place(i, r)
}

// list is a next hop's ready items in the order in which they came.
type list struct {
	head, tail ref
	n          int
}

func (t *table) link(l *list, r ref) {
	it := t.at(r)
	it.prev, it.next = l.tail, 0
	if l.tail != 0 {
		t.at(l.tail).next = r
	} else {
		l.head = r
	}
	l.tail = r
	l.n++
}

// unlink takes r out of l.
func (t *table) unlink(l *list, r ref) {
	it := t.at(r)
	if it.prev != 0 {
		t.at(it.prev).next = it.next
	} else {
		l.head = it.next
	}
	if it.next != 0 {
		t.at(it.next).prev = it.prev
	} else {
		l.tail = it.prev
	}
	it.prev, it.next = 0, 0
	l.n--
}
