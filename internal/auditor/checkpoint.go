package auditor

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/postern-mail/postern/internal/envelope"
)

// checkpoint is what pass 2 keeps of the newest checkpoint that is whole.
type checkpoint struct {
	number, batch uint64
	since         uint64
	restarted     bool
	entries       map[envelope.ID]*entry
	book          book
}

// entry is a live message as a checkpoint has it.
type entry struct {
	tenant  string
	kind    uint8
	segment uint64
	offset  uint64
	arrival uint64
	size    uint64
	status  []status
	domains []string
}

// scar is a place that the spool knows to be damaged or torn. A batch that a
// scar calls torn stays torn, however far the log is synced later.
type scar struct {
	segment, offset, octets, batch uint64
	torn                           bool
}

var errCheckpoint = errors.New("not a whole checkpoint")

// readCheckpoint is pass 2. A checkpoint that is not whole is damage, unless
// there is a newer one that is.
func (s *store) readCheckpoint() {
	if s.aside {
		return
	}
	for _, rel := range s.checkpoints {
		w, err := s.open(rel)
		if err != nil {
			s.trouble(rel, err)
			continue
		}
		ck, scars, adopted, err := parseCheckpoint(w, s.inc)
		w.close()
		if err != nil {
			s.hurt(Damage{File: rel, Octets: w.size, What: err.Error()})
			continue
		}
		s.ck = ck
		for _, sc := range scars {
			s.scarred(sc)
		}
		for _, inc := range adopted {
			s.adopted[inc] = true
		}
		s.main.synced = max(s.main.synced, ck.batch)
		return
	}
	s.restarted = true
}

func parseCheckpoint(w *window, inc envelope.Incarnation) (*checkpoint, []scar, []envelope.Incarnation, error) {
	h := w.read(0, 96)
	if h == nil || string(h[:8]) != "PSTNCKP1" || crc32.Checksum(h[:92], crcTable) != binary.LittleEndian.Uint32(h[92:]) {
		return nil, nil, nil, errCheckpoint
	}
	c := over(h[10:])
	if binary.LittleEndian.Uint16(c.next(2)) > 1 {
		return nil, nil, nil, errors.New("written for a newer reader")
	}
	c.next(4)
	ck := &checkpoint{entries: map[envelope.ID]*entry{}, book: book{}}
	ck.number = c.uint64()
	if c.incarnation() != inc {
		return nil, nil, nil, errors.New("belongs to another incarnation")
	}
	c.next(6)
	ck.batch = c.uint64()
	c.next(8 + 8 + 8 + 8) // segment, offset, limit, time
	ck.since = c.uint64()
	ck.restarted = c.uint32()&1 != 0
	p := chunks{ck: ck}
	for at := int64(96); ; {
		kind, body, ok := chunkAt(w, at)
		if !ok {
			return nil, nil, nil, errCheckpoint
		}
		done, ok := p.take(kind, body)
		if !ok {
			return nil, nil, nil, errCheckpoint
		}
		if done {
			return ck, p.scars, p.adopted, nil
		}
		at += 16 + int64(len(body))
	}
}

func chunkAt(w *window, at int64) (kind byte, body []byte, ok bool) {
	h := w.read(at, 16)
	if h == nil {
		return 0, nil, false
	}
	n := int64(binary.LittleEndian.Uint32(h[4:]))
	if n > maxBodyRead {
		return 0, nil, false
	}
	if body = w.read(at+16, int(n)); body == nil {
		return 0, nil, false
	}
	sum := crc32.Update(crc32.Checksum(h[:8], crcTable), crcTable, body)
	return h[0], body, sum == binary.LittleEndian.Uint32(h[8:])
}

// chunks gathers the parts of a checkpoint.
type chunks struct {
	ck      *checkpoint
	scars   []scar
	adopted []envelope.Incarnation
}

// take reads one chunk and reports whether it was the end, and whether it read.
func (p *chunks) take(kind byte, body []byte) (done, ok bool) {
	c := over(body)
	switch kind {
	case 2:
		readBook(c, p.ck.book)
	case 3:
		for len(c.rest) > 0 && c.ok {
			id, e := readEntry(c)
			if c.ok {
				p.ck.entries[id] = e
			}
		}
	case 4:
		for len(c.rest) > 0 && c.ok {
			p.scars = append(p.scars, readScar(c))
		}
	case 5:
		for len(c.rest) > 0 && c.ok {
			p.adopted = append(p.adopted, c.incarnation())
		}
	case 6:
		return true, c.uint64() == uint64(len(p.ck.entries)) && c.ok
	}
	return false, c.ok
}

func readEntry(c *cursor) (envelope.ID, *entry) {
	id := c.id()
	e := &entry{tenant: c.str(), kind: c.octet()}
	flags := c.octet()
	e.segment, e.offset = c.uvarint(), c.uvarint()
	c.uvarint() // octets of the accept
	c.uvarint() // its batch
	e.arrival = c.uint64()
	e.size = c.uvarint()
	if flags&1 != 0 {
		c.id() // the draft's
	}
	n := c.uvarint()
	if n > uint64(len(c.rest)) {
		c.ok = false
	}
	for ; n > 0 && c.ok; n-- {
		e.status = append(e.status, readStatus(c))
		e.domains = append(e.domains, c.str())
	}
	return id, e
}

func (s *store) scarred(sc scar) {
	s.scars = append(s.scars, sc)
	if sc.torn {
		s.main.scarred(sc.batch)
	}
}

func readScar(c *cursor) scar {
	sc := scar{segment: c.uint64(), offset: c.uint64(), octets: c.uint64()}
	sc.batch = c.uint64()
	sc.torn = c.octet() == 1
	return sc
}
