package faultfs

import "io"

const (
	pageSize   = 4096
	sectorSize = 512 // what a disk writes whole, at the least
)

// page is never changed once it is in a map, so that versions of a file, and a
// clone and its original, share pages.
type page [pageSize]byte

var _ [pageSize / sectorSize]struct{} // a page is whole sectors

// data is a file's octets. A page that is missing from a map reads as zero.
type data struct {
	size   int64           // as processes see it
	live   map[int64]*page // as processes see it
	synced int64           // the size on the disk
	disk   map[int64]*page // the pages on the disk
	log    []version       // pages changed since the last Sync, oldest first
	sizes  []int64         // the size after each size or hole change since the last Sync
}

// version is one page after one call. meta is the index into data.sizes of the
// call when it was a change of size or a hole, else -1.
type version struct {
	no   int64
	p    *page
	meta int
}

func newData() data {
	return data{live: map[int64]*page{}, disk: map[int64]*page{}}
}

func (d *data) setPage(no int64, p *page, meta int) {
	if p == nil {
		delete(d.live, no)
	} else {
		d.live[no] = p
	}
	d.log = append(d.log, version{no, p, meta})
}

func (d *data) readAt(b []byte, off int64) (int, error) {
	if off >= d.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), d.size-off))
	for done := 0; done < n; {
		at := off + int64(done)
		chunk := b[done:min(n, done+int(pageSize-at%pageSize))]
		if p := d.live[at/pageSize]; p != nil {
			copy(chunk, p[at%pageSize:])
		} else {
			clear(chunk)
		}
		done += len(chunk)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (d *data) writeAt(b []byte, off int64) {
	for end := off + int64(len(b)); off < end; {
		p := new(page)
		if old := d.live[off/pageSize]; old != nil {
			*p = *old
		}
		n := copy(p[off%pageSize:], b)
		d.setPage(off/pageSize, p, -1)
		b, off = b[n:], off+int64(n)
	}
	if off > d.size {
		d.resize(off)
	}
}

func (d *data) resize(size int64) {
	d.size = size
	d.sizes = append(d.sizes, size)
}

func (d *data) truncate(size int64) {
	if size == d.size {
		return
	}
	if size < d.size {
		d.zero(size, (d.size+pageSize-1)/pageSize*pageSize-size)
	}
	d.resize(size)
}

// zero makes a hole of [off,off+n), as part of the size or hole change that
// the caller records next.
func (d *data) zero(off, n int64) {
	meta, end := len(d.sizes), off+n
	for no := range d.live {
		from, to := max(off, no*pageSize), min(end, (no+1)*pageSize)
		switch {
		case from >= to:
		case to-from == pageSize:
			d.setPage(no, nil, meta)
		default:
			p := *d.live[no]
			clear(p[from-no*pageSize : to-no*pageSize])
			d.setPage(no, &p, meta)
		}
	}
}

func (d *data) discard(off, n int64) {
	if n = min(n, d.size-off); n <= 0 {
		return
	}
	d.zero(off, n)
	d.resize(d.size)
}

func (d *data) sync() {
	for _, v := range d.log {
		if p := d.live[v.no]; p != nil {
			d.disk[v.no] = p
		} else {
			delete(d.disk, v.no)
		}
	}
	d.synced = d.size
	d.dropDirty()
}

// dropDirty forgets what waits for a Sync, as a kernel does after a write to
// the disk failed: the octets stay readable and never reach the disk.
func (d *data) dropDirty() { d.log, d.sizes = nil, nil }
