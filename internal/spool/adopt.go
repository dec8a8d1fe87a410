package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
)

const adoptedPrefix = "adopted-"

// adoptAll takes over every other incarnation in the directory that no process
// has locked. It runs before Open returns, so that nothing of an adopted
// message can be tried before the adoption is complete.
func (s *Spool) adoptAll(ctx context.Context, rec *Recovery) error {
	others, err := s.others()
	if err != nil {
		return err
	}
	for _, inc := range others {
		if err := s.gatherStrays(inc); err != nil {
			return fmt.Errorf("adopt %v: %w", inc, err)
		}
	}
	for _, inc := range others {
		if err := s.adoptOne(ctx, inc, rec); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			rec.Findings = append(rec.Findings, Finding{Kind: NotAdopted, Recipient: -1, Holder: inc.String(), Detail: err.Error()})
		}
	}
	return nil
}

// others lists the incarnations in the directory that are not this one and
// were not adopted yet.
func (s *Spool) others() ([]envelope.Incarnation, error) {
	names, err := s.fs.ReadDir(s.root)
	if err != nil {
		return nil, err
	}
	var out []envelope.Incarnation
	for _, e := range names {
		inc, err := envelope.ParseIncarnation(e.Name())
		if err == nil && inc != s.incarnation && e.IsDir() {
			out = append(out, inc)
		}
	}
	return out, nil
}

// gatherStrays moves here the draft files that another directory holds of a
// third one's messages: its adoption was cut short after it had moved them and
// before a record named them, or it had adopted them. Whoever names them is
// adopted next, and finds them here (loader.movedTo).
func (s *Spool) gatherStrays(inc envelope.Incarnation) error {
	dir := path.Join(s.root, inc.String())
	lock, err := s.fs.Lock(path.Join(dir, "lock"))
	if errors.Is(err, durable.ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := s.fs.ReadDir(dir)
	for i := 0; err == nil && i < len(names); i++ {
		text, ok := strings.CutPrefix(names[i].Name(), "draft-")
		id, idErr := envelope.ParseID(text)
		if ok && idErr == nil && id.Incarnation() != inc {
			err = s.moveDraft(dir, id)
		}
	}
	return errors.Join(err, lock.Close())
}

// adoptOne takes over one incarnation: live mail is copied under its own IDs,
// the ledger of what had ended there goes into the note that seals the
// adoption, and the directory is put aside with its events.
func (s *Spool) adoptOne(ctx context.Context, inc envelope.Incarnation, rec *Recovery) error {
	dir := path.Join(s.root, inc.String())
	lock, err := s.fs.Lock(path.Join(dir, "lock"))
	if errors.Is(err, durable.ErrLocked) {
		s.cfg.Logger.Info("spool leaves a directory to the process that has it", "incarnation", inc.String())
		return nil
	}
	if err != nil {
		return err
	}
	if !s.keep.adopted[inc] && !s.saysAdopted(dir) {
		err = s.copyFrom(ctx, dir, inc, rec)
	}
	if err == nil {
		rec.Adopted = append(rec.Adopted, inc)
		err = s.putAside(dir, inc)
	}
	return errors.Join(err, lock.Close())
}

func (s *Spool) saysAdopted(dir string) bool {
	_, err := s.fs.Stat(path.Join(dir, "adopted"))
	return err == nil
}

func (s *Spool) copyFrom(ctx context.Context, dir string, inc envelope.Incarnation, rec *Recovery) error {
	l := newLoader(s.fs, dir, inc, s.weakSums)
	l.movedTo = s.dir
	err := l.load(ctx, true)
	if err == nil {
		rec.Findings = append(rec.Findings, l.findings...)
		err = s.copyLive(ctx, l)
	}
	if err == nil {
		err = s.sealAdoption(ctx, l)
	}
	if err = errors.Join(err, l.close()); err != nil {
		return fmt.Errorf("adopt %v: %w", inc, err)
	}
	return s.replaceFile(dir, "adopted", "by "+s.incarnation.String()+"\n")
}

// copyLive copies what is not in our index yet.
func (s *Spool) copyLive(ctx context.Context, l *loader) error {
	var last *batch
	for i := range l.idx.stripes {
		for id, e := range l.idx.stripes[i].m {
			if s.isLive(id) {
				continue
			}
			b, err := s.copyForeign(l, id, &e)
			if err != nil {
				return err
			}
			last = b
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if last == nil {
		return nil
	}
	return s.barrier(ctx)
}

// copyForeign queues one message of another incarnation. One whose content is
// destroyed comes along held, without content: it can still be named.
func (s *Spool) copyForeign(l *loader, id envelope.ID, e *entry) (*batch, error) {
	foreign := &Spool{cfg: s.cfg, fs: s.fs, dir: l.dir, idx: l.idx, segs: l.segs, weakSums: s.weakSums}
	env, ref, err := foreign.readAccept(id, e)
	if err != nil {
		if errors.Is(err, ErrDamaged) {
			l.find(Finding{Kind: LostMessage, ID: id, Recipient: -1, Detail: err.Error()})
			return nil, nil
		}
		return nil, err
	}
	body, err := foreign.contentBody(e, env, ref)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if ref.draft {
		if err := s.moveDraft(l.dir, ref.id); err != nil {
			return nil, err
		}
	}
	if body == nil && !ref.draft {
		ref = contentRef{none: true}
	}
	g := groupPool.Get().(*group)
	defer g.put()
	g.copyOf(env, ref, body, append([]recipient(nil), l.idx.recipients(id, e)...))
	b, err := s.enqueue(g, true)
	if err != nil {
		return nil, err
	}
	<-b.done
	return b, b.err
}

// moveDraft moves a draft file here, name and all, unless an adoption that was
// cut short has done so. Both directories are synced before a record names it.
func (s *Spool) moveDraft(dir string, id envelope.ID) error {
	err := s.fs.Rename(draftName(dir, id), draftName(s.dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is here already, or its message is held: MissingDraft has named it
	}
	if err != nil {
		return err
	}
	return errors.Join(s.fs.SyncDir(s.dir), s.fs.SyncDir(dir))
}

// sealAdoption writes the note, with the ledger less what the copies count.
func (s *Spool) sealAdoption(ctx context.Context, l *loader) error {
	a := &adoption{incarnation: l.incarnation, ledger: l.idx.endedLedger()}
	g := groupPool.Get().(*group)
	defer g.put()
	at := g.start(recNote, envelope.ID{})
	g.buf = appendAdoption(g.buf, a)
	o := op{kind: opAdopted, note: a}
	o.start, o.end = g.end(at)
	g.ops = append(g.ops, o)
	if err := s.commitGroup(ctx, g); err != nil {
		return err
	}
	s.keep.adopted[l.incarnation] = true
	return nil
}

// endedLedger is the ledger without the live messages.
func (x *index) endedLedger() map[string]*TenantLedger {
	m := x.tenantLedgers()
	for i := range x.stripes {
		for id, e := range x.stripes[i].m {
			l := m[x.tenants.name(e.tenant)]
			l.Sources[kindIndex(e.kind)] -= int64(e.count)
			for _, r := range x.recipients(id, &e) {
				l.count(r.state, -1)
			}
		}
	}
	return m
}

// putAside removes what was copied and keeps the events for trace.
func (s *Spool) putAside(dir string, inc envelope.Incarnation) error {
	names, err := s.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		n := e.Name()
		if strings.HasPrefix(n, "event-") || n == "adopted" || n == "lock" {
			continue
		}
		if err := s.fs.Remove(path.Join(dir, n)); err != nil {
			return err
		}
	}
	if err := s.fs.SyncDir(dir); err != nil {
		return err
	}
	if err := s.fs.Rename(dir, path.Join(s.root, adoptedPrefix+inc.String())); err != nil {
		return err
	}
	return s.fs.SyncDir(s.root)
}

// mayRemoveDraft is false for a draft file that may have come here in an
// adoption which is not complete: its record is still to be written, and any
// directory that is still to be adopted may hold the one that names it.
func (s *Spool) mayRemoveDraft(id envelope.ID) bool {
	if id.Incarnation() == s.incarnation {
		return true
	}
	others, err := s.others()
	return err == nil && len(others) == 0
}

// addAdopted lists the event files of adopted incarnations before our own:
// they are older, are traced, and are shed first.
func (w *eventWriter) addAdopted() {
	names, err := w.s.fs.ReadDir(w.s.root)
	if err != nil {
		return
	}
	var old []eventFile
	for _, e := range names {
		if !strings.HasPrefix(e.Name(), adoptedPrefix) {
			continue
		}
		dir := path.Join(w.s.root, e.Name())
		files, err := w.s.fs.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, f := range files {
			n, ok := fileNumber(f.Name(), "event")
			fi, err := w.s.fs.Stat(path.Join(dir, f.Name()))
			if ok && err == nil {
				old = append(old, eventFile{name: path.Join(dir, f.Name()), octets: fi.Size(), number: n})
				w.total += fi.Size()
			}
		}
	}
	w.files = append(old, w.files...)
}
