package spool

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

// Events yields what the event log knows, oldest first, until yield is false.
// With ID: that message's story. With Address: the stories of the newest
// Limit messages from or to it, and of mail refused. With neither: all events
// since Since, at most Limit when it is set. What waits for its sync is synced
// and what memory still holds is written first, so that everything up to now
// is there.
func (s *Spool) Events(ctx context.Context, f Filter, yield func(Event) bool) error {
	if s.written.Load() > s.synced.Load() {
		if err := s.barrier(ctx); err != nil && ctx.Err() != nil {
			return err
		}
	}
	if err := s.events.flush(); err != nil {
		s.cfg.Logger.Warn("spool events may be incomplete", "error", err.Error())
	}
	files := s.events.list()
	switch {
	case !f.ID.IsZero():
		return s.events.story(ctx, files, map[envelope.ID]bool{f.ID: true}, f, yield)
	case f.Address != "":
		return s.events.byAddress(ctx, files, f, yield)
	}
	n := 0
	return s.events.each(ctx, files, nil, func(r *recordView, _ uint64) bool {
		ev, ok := toEvent(r)
		if !ok || ev.Time.Before(f.Since) {
			return true
		}
		n++
		return yield(ev) && (f.Limit == 0 || n < f.Limit)
	})
}

// list returns the event files, oldest first, the current one last.
func (w *eventWriter) list() []string {
	w.fileMu.Lock()
	defer w.fileMu.Unlock()
	var names []string
	for _, f := range w.files {
		names = append(names, f.name)
	}
	if w.file != nil {
		names = append(names, w.name)
	}
	return names
}

// each reads the records of the files in order. keys, when not nil, are hashes
// of which a file's filter must know at least one for it to be read.
func (w *eventWriter) each(ctx context.Context, files []string, keys []uint64, give func(r *recordView, through uint64) bool) error {
	for _, name := range files {
		more, err := w.eachIn(ctx, name, keys, give)
		if errors.Is(err, fs.ErrNotExist) {
			continue // shed meanwhile
		}
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (w *eventWriter) eachIn(ctx context.Context, name string, keys []uint64, give func(r *recordView, through uint64) bool) (more bool, err error) {
	f, err := w.s.fs.Open(name)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sc, _ := eventScanner(f, w.s.weakSums)
	if sc == nil || !mayHold(f, sc, keys) {
		return true, nil
	}
	for more = true; more; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		v, ok, err := sc.next()
		if err != nil || !ok {
			return true, err
		}
		if v.bad || !v.trailer {
			continue
		}
		v.records(func(r recordView) bool {
			if r.good && r.typ != recFilter {
				more = give(&r, v.edge.through)
			}
			return more
		})
	}
	return more, nil
}

// story yields all events of some messages, oldest first.
func (w *eventWriter) story(ctx context.Context, files []string, ids map[envelope.ID]bool, f Filter, yield func(Event) bool) error {
	var keys []uint64
	for id := range ids {
		keys = append(keys, hashKey(id[:]))
	}
	return w.each(ctx, files, keys, func(r *recordView, _ uint64) bool {
		if !ids[r.id] && !(r.typ == recRefused && f.Address != "") {
			return true
		}
		ev, ok := toEvent(r)
		if !ok || ev.Time.Before(f.Since) || ev.Refused != nil && !ev.Refused.concerns(f.Address) {
			return true
		}
		return yield(ev)
	})
}

// byAddress finds the newest messages from or to an address, newest file
// first, then tells their stories.
func (w *eventWriter) byAddress(ctx context.Context, files []string, f Filter, yield func(Event) bool) error {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	address := lowerASCII(f.Address)
	keys := []uint64{hashKey([]byte(address))}
	var found []envelope.ID
	first := len(files)
	refused := false
	for i, name := range slices.Backward(files) {
		var here []envelope.ID
		_, err := w.eachIn(ctx, name, keys, func(r *recordView, _ uint64) bool {
			ev, ok := toEvent(r)
			if !ok || ev.Time.Before(f.Since) {
				return true
			}
			switch {
			case ev.Envelope != nil && concerns(address, ev.Envelope):
				here = append(here, r.id)
			case ev.Refused != nil && ev.Refused.concerns(address):
				refused = true
			}
			return true
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(here) > 0 || refused {
			first = i
		}
		found = append(here, found...)
		if len(found) >= limit {
			found = found[len(found)-limit:]
			break
		}
	}
	ids := map[envelope.ID]bool{}
	for _, id := range found {
		ids[id] = true
	}
	if len(ids) == 0 && !refused {
		return nil
	}
	f.Address = address
	if refused {
		return w.storyAll(ctx, files[first:], ids, f, yield)
	}
	return w.story(ctx, files[first:], ids, f, yield)
}

// storyAll is story without the filters: refused mail has no ID.
func (w *eventWriter) storyAll(ctx context.Context, files []string, ids map[envelope.ID]bool, f Filter, yield func(Event) bool) error {
	return w.each(ctx, files, nil, func(r *recordView, _ uint64) bool {
		if !ids[r.id] && r.typ != recRefused {
			return true
		}
		ev, ok := toEvent(r)
		if !ok || ev.Time.Before(f.Since) || ev.Refused != nil && !ev.Refused.concerns(f.Address) {
			return true
		}
		return yield(ev)
	})
}

func concerns(address string, env *envelope.Envelope) bool {
	if isAddress(env.Reverse, address) {
		return true
	}
	for i := range env.Forward {
		if isAddress(env.Forward[i].Path, address) {
			return true
		}
	}
	return false
}

func (ev *RefusedEvent) concerns(address string) bool {
	return isAddress(ev.Reverse, address) || slices.ContainsFunc(ev.Forward, func(p smtp.Path) bool { return isAddress(p, address) })
}

func isAddress(p smtp.Path, lowered string) bool {
	return len(p.Local)+1+len(p.Domain) == len(lowered) && lowerASCII(addressOf(p)) == lowered
}

func addressOf(p smtp.Path) string { return p.Local + "@" + p.Domain }

// lowerASCII lowers A to Z only, as the format's filter does.
func lowerASCII(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= 'A' && r <= 'Z' }) < 0 {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// toEvent reads an event out of a record; ok is false for what is none.
func toEvent(r *recordView) (ev Event, ok bool) {
	body := reader{b: r.body}
	ev = Event{ID: r.id, Recipient: -1}
	switch r.typ {
	case recAccept:
		env, _, err := body.accept(r.id)
		if err != nil {
			return ev, false
		}
		ev.Kind, ev.Envelope, ev.Time = EventAccepted, env, env.Arrival.Time
	case recMove, recFinish:
		c, when, err := body.change(r.id)
		if err != nil {
			return ev, false
		}
		ev.Kind, ev.Change, ev.Time = EventMoved, &c, when
		if r.typ == recFinish {
			ev.Kind = EventFinished
		}
	case recRefused:
		ref, err := body.refused()
		if err != nil {
			return ev, false
		}
		ev.Kind, ev.Refused, ev.Time = EventRefused, ref, ref.Time
	case recLost:
		when, rcpt, why, err := body.lost()
		if err != nil {
			return ev, false
		}
		ev.Kind, ev.Time, ev.Recipient, ev.Detail = EventLost, when, rcpt, why
	case recNote:
		if body.u8() != noteShed {
			return ev, false
		}
		n := body.u64()
		body.u64()
		ev.Kind, ev.Time, ev.Detail = EventShed, body.time(), path.Base(eventName("", n))
	default:
		return ev, false
	}
	return ev, true
}

// story is what the event log tells of one message.
type story struct {
	env      *envelope.Envelope
	when     time.Time
	terminal map[int]envelope.State
	lost     bool
	holder   string // who held it last
}

// ended reports whether every recipient's walk has ended.
func (st *story) ended() bool { return st.env != nil && len(st.terminal) == len(st.env.Forward) }

func (st *story) add(r *recordView) {
	ev, ok := toEvent(r)
	if !ok {
		return
	}
	switch ev.Kind {
	case EventAccepted:
		st.env, st.when = ev.Envelope, ev.Time
		if st.holder == "" {
			st.holder = "accepted, never tried"
		}
	case EventMoved, EventFinished:
		c := ev.Change
		if c.To.Terminal() {
			st.terminal[c.Recipient] = c.To
		}
		if c.Attempt != nil {
			st.holder = "last tried " + c.Attempt.Time.Format(time.RFC3339) + " for " + c.Attempt.NextHop
		}
	case EventLost:
		st.lost = true
	}
}

// tellAbout gathers the stories of wanted messages, and of those accepted in
// main batches that are missing.
func (w *eventWriter) tellAbout(ctx context.Context, wanted map[envelope.ID]bool, missing []span) (map[envelope.ID]*story, error) {
	told := map[envelope.ID]*story{}
	before := uint64(0) // through of the batch before
	at := uint64(0)
	err := w.each(ctx, w.list(), nil, func(r *recordView, through uint64) bool {
		if through != at {
			before, at = at, through
		}
		st := told[r.id]
		if st == nil {
			if !wanted[r.id] && !(r.typ == recAccept && overlaps(missing, before+1, through)) {
				return true
			}
			st = &story{terminal: map[int]envelope.State{}}
			told[r.id] = st
		}
		st.add(r)
		return true
	})
	return told, err
}

func overlaps(list []span, first, last uint64) bool {
	for _, s := range list {
		if s.first <= last && s.last >= first {
			return true
		}
	}
	return false
}

// lost adds a lost event.
func (w *eventWriter) lost(id envelope.ID, now time.Time, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending.add(recLost, flagGroup, id, appendLost(nil, now, -1, why))
}

// resolve finds the IDs with a suffix in the event log.
func (w *eventWriter) resolve(ctx context.Context, suffix string) ([]envelope.ID, error) {
	if err := w.flush(); err != nil {
		return nil, err
	}
	seen := map[envelope.ID]bool{}
	var ids []envelope.ID
	err := w.each(ctx, w.list(), nil, func(r *recordView, _ uint64) bool {
		if r.typ == recAccept && !seen[r.id] && hasSuffix(r.id, suffix) {
			seen[r.id] = true
			ids = append(ids, r.id)
		}
		return true
	})
	return ids, err
}
