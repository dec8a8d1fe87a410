package spool

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/telemetry"
)

// Draft is content on its way in. It is used by one goroutine and ends with
// Commit or Abort; Abort after either does nothing. Up to Config.InlineMax it
// lives in pooled memory that is charged to Config.Memory, above in a file of
// its own.
type Draft struct {
	s       *Spool
	pool    *[]byte
	buf     []byte // content (inline) or what is not yet written to file
	taken   int64  // octets charged
	size    int64
	written int64 // octets in file
	file    durable.File
	id      envelope.ID // the file's name
	sum     uint32
	err     error
	ended   bool
	kept    bool // the file belongs to a committed message, or may
}

// First size of a draft's buffer and size of a write to its file. Chosen: most
// mail is below 16 KiB; 64 KiB keep system calls few.
const (
	draftFirst = 16 << 10
	draftChunk = 64 << 10
)

var draftPool = sync.Pool{New: func() any { b := make([]byte, 0, draftFirst); return &b }}

// NewDraft begins content. ErrMemory, ErrNoRoom and ErrClosed are to be said
// before content is asked for.
func (s *Spool) NewDraft(ctx context.Context) (*Draft, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.Room(0); err != nil {
		return nil, err
	}
	d := &Draft{s: s}
	if err := d.charge(draftFirst); err != nil {
		return nil, err
	}
	d.pool = draftPool.Get().(*[]byte)
	d.buf = (*d.pool)[:0]
	s.active.Add(1)
	return d, nil
}

func (d *Draft) charge(n int64) error {
	if m := d.s.cfg.Memory; m != nil && !m.TryTake(n) {
		d.s.stats.refusedMemory.Add(1)
		return ErrMemory
	}
	d.taken += n
	return nil
}

// Size is the number of octets written so far.
func (d *Draft) Size() int64 {
	if d == nil {
		return 0
	}
	return d.size
}

// Write adds octets. After an error the draft can only be aborted.
func (d *Draft) Write(p []byte) (int, error) {
	if d.ended {
		return 0, ErrClosed
	}
	if d.err == nil {
		d.err = d.add(p)
	}
	if d.err != nil {
		return 0, d.err
	}
	d.size += int64(len(p))
	return len(p), nil
}

func (d *Draft) add(p []byte) error {
	if d.file == nil && d.size+int64(len(p)) > d.s.cfg.InlineMax {
		if err := d.spill(); err != nil {
			return err
		}
	}
	if d.file != nil {
		return d.stream(p)
	}
	if need := len(d.buf) + len(p); need > cap(d.buf) {
		room := max(min(2*cap(d.buf), int(d.s.cfg.InlineMax)), need)
		if err := d.charge(int64(room - cap(d.buf))); err != nil {
			return err
		}
		nb := make([]byte, len(d.buf), room)
		copy(nb, d.buf)
		d.buf = nb
	}
	d.buf = append(d.buf, p...)
	return nil
}

// spill moves the content from memory to a draft file.
func (d *Draft) spill() error {
	id := d.s.NextID()
	if id.IsZero() {
		return fmt.Errorf("no ID for a draft file: %w", ErrIO)
	}
	name := draftName(d.s.dir, id)
	f, err := d.s.fs.Create(name)
	if err != nil {
		return ioError(fmt.Errorf("draft: %w", err))
	}
	d.file, d.id = f, id
	telemetry.FailPoint("spool.draft.created")
	return d.flush()
}

func (d *Draft) stream(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), draftChunk-len(d.buf)%draftChunk)
		d.buf = append(d.buf, p[:n]...)
		p = p[n:]
		if len(d.buf) >= draftChunk || len(d.buf) == cap(d.buf) {
			if err := d.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes what is in buf.
func (d *Draft) flush() error {
	if len(d.buf) == 0 {
		return nil
	}
	if _, err := d.file.WriteAt(d.buf, d.written); err != nil {
		return ioError(fmt.Errorf("draft: %w", err))
	}
	d.sum = crc32.Update(d.sum, castagnoli, d.buf)
	d.s.spent.Add(int64(len(d.buf)))
	d.written += int64(len(d.buf))
	d.buf = d.buf[:0]
	return nil
}

// Abort gives everything back and removes the draft file.
func (d *Draft) Abort() {
	d.done()
}

// done ends the draft: memory, file and its place among the active.
func (d *Draft) done() {
	if d == nil || d.ended {
		return
	}
	d.ended = true
	d.s.active.Add(-1)
	if cap(d.buf) >= draftFirst && cap(d.buf) <= 2*draftChunk {
		*d.pool = d.buf[:0]
		draftPool.Put(d.pool)
	}
	d.buf = nil
	if d.s.cfg.Memory != nil {
		d.s.cfg.Memory.Give(d.taken)
	}
	if d.file == nil {
		return
	}
	err := d.file.Close()
	if !d.kept {
		err = errors.Join(err, d.s.fs.Remove(draftName(d.s.dir, d.id)))
	}
	if err != nil {
		d.s.cfg.Logger.Warn("spool draft left behind", "error", err.Error(), "draft", d.id.String())
	}
}

// committed leaves the draft file to the message.
func (d *Draft) committed() {
	if d != nil {
		d.kept = true
	}
}

// inline is the content of a draft without a file.
func (d *Draft) inline() []byte { return d.buf }

// settle makes a draft file durable, name and all, before any record names it.
func (s *Spool) settle(d *Draft, envs []*envelope.Envelope) (contentRef, error) {
	if d == nil {
		return contentRef{none: true}, nil
	}
	if d.ended || d.err != nil {
		return contentRef{}, fmt.Errorf("commit %v: a draft that has ended: %w", envs[0].ID, ErrInvalid)
	}
	if d.file == nil {
		return contentRef{}, nil
	}
	err := d.flush()
	if err == nil {
		err = d.file.Sync()
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		return contentRef{}, ioError(fmt.Errorf("draft of %v: %w", envs[0].ID, err))
	}
	telemetry.FailPoint("spool.draft.synced")
	return contentRef{draft: true, id: d.id, sum: d.sum}, nil
}
