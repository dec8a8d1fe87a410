package spool

import (
	"errors"
	"fmt"
	"syscall"
)

// visible applies b to the index, once.
func (s *Spool) visible(b *batch) {
	s.idx.mu.Lock()
	defer s.idx.mu.Unlock()
	for i := range b.ops {
		if o := &b.ops[i]; !o.applied {
			s.applyOp(b, o)
			o.applied = true
		}
	}
}

func (s *Spool) applyOp(b *batch, o *op) {
	at := place{batch: b.number, segment: uint32(s.commit.head.number), offset: uint32(b.offset) + o.start, length: o.end - o.start}
	switch o.kind {
	case opAccept:
		s.idx.insert(o.env, o.ref, at, nil)
	case opCopy:
		if _, live := s.idx.get(o.id); live {
			s.idx.relocate(o.id, at)
		} else if o.list != nil {
			s.idx.insert(o.env, o.ref, at, o.list)
		}
	case opChange:
		s.idx.change(o.id, int(o.rcpt), o.to, o.cause, o.tried, o.next)
	case opAdopted:
		s.idx.adopt(o.note)
	}
}

// ioError gives an error of the disk its name.
func ioError(err error) error {
	if errors.Is(err, ErrNoRoom) || errors.Is(err, ErrIO) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return fmt.Errorf("%w: %w", ErrIO, err)
}
