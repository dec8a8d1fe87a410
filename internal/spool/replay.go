package spool

import (
	"context"
	"fmt"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/envelope"
)

// replay applies every batch that counts, in order.
func (l *loader) replay(ctx context.Context) error {
	prev := l.from.batch
	for i, n := range l.replayed() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i > 0 && n != l.replayed()[i-1]+1 {
			l.missingSegments(l.replayed()[i-1]+1, n-1)
		}
		sc, err := l.scan(n)
		if err != nil {
			return err
		}
		if sc == nil {
			continue
		}
		if prev, err = l.replaySegment(n, sc, prev); err != nil {
			l.unreadable(n, sc.off, err)
		}
	}
	l.gap(prev, l.synced+1, 0, 0, 0)
	l.counted = max(l.counted, l.from.batch)
	return nil
}

func (l *loader) missingSegments(first, last uint64) {
	for n := first; n <= last; n++ {
		l.find(Finding{
			Kind: MissingSegment, Recipient: -1, Segment: n, Holder: fmt.Sprintf("segment-%08d", n),
			Detail: "the file is gone",
		})
	}
}

func (l *loader) replaySegment(n uint64, sc *scanner, prev uint64) (uint64, error) {
	badAt, badOctets := int64(0), int64(0)
	seg := l.segs[n]
	for {
		v, ok, err := sc.next()
		if err != nil || !ok {
			seg.unused = err == nil && sc.off == firstBatch && !sc.tail()
			if err == nil && sc.tail() {
				l.torn++
				l.find(Finding{Kind: Torn, Recipient: -1, Segment: n, Offset: sc.off, Batch: prev + 1, Detail: "a batch without its end"})
			}
			return prev, err
		}
		if v.bad {
			badAt, badOctets = v.off, v.octets
			continue
		}
		if prev == 0 && l.from.number == 0 && l.numbers[0] == n {
			prev = v.edge.first - 1 // what was freed before is not missing
		}
		if v.edge.number <= prev {
			continue // a checkpoint has it already, or it is not in order: it proves nothing
		}
		l.gap(prev, v.edge.number, n, badAt, badOctets)
		badAt, badOctets = 0, 0
		prev = v.edge.number
		l.batches++
		l.octets += v.octets
		seg.last = v.edge.number
		if !l.void(v.edge.number) {
			l.replayBatch(n, &v)
		}
	}
}

// gap names the batches between prev and next that should be there.
func (l *loader) gap(prev, next, segment uint64, off, octets int64) {
	var run span
	flush := func() {
		if run.first == 0 {
			return
		}
		l.missing = append(l.missing, run)
		l.find(Finding{
			Kind: LostMessage, Recipient: -1, Segment: segment, Offset: off, Octets: octets, Batch: run.first,
			Detail: fmt.Sprintf("batches %d to %d are destroyed", run.first, run.last),
		})
		run = span{}
	}
	for n := prev + 1; n < next; n++ {
		_, scarred := l.scars[n]
		if scarred {
			l.known++
		}
		if n > l.synced || l.void(n) || scarred {
			if n > l.synced && !l.void(n) && !scarred {
				l.torn++
				l.stalled = true
				l.fresh = append(l.fresh, scar{segment: segment, offset: off, octets: octets, number: n, torn: true})
			}
			flush()
			continue
		}
		if run.first == 0 {
			run.first = n
		}
		run.last = n
		l.fresh = append(l.fresh, scar{segment: segment, offset: off, octets: octets, number: n})
	}
	flush()
}

// replayBatch applies one batch, whole or hurt.
func (l *loader) replayBatch(n uint64, v *view) {
	list := make([]recordView, 0, 16)
	whole := v.trailer
	v.records(func(r recordView) bool {
		list = append(list, r)
		whole = whole && r.good
		return true
	})
	sr, scarred := l.scars[v.edge.number]
	torn := v.edge.number > l.synced || scarred && sr.torn
	l.stalled = l.stalled || torn && !whole
	if !l.stalled {
		l.reached = max(l.reached, v.edge.number)
	}
	if torn && !v.trailer {
		l.tornBatch(n, v, scarred)
		return
	}
	l.counted = v.edge.number
	if !whole && !scarred {
		l.fresh = append(l.fresh, scar{segment: n, offset: v.off, octets: v.octets, number: v.edge.number, torn: torn})
	}
	if scarred {
		l.known++
	}
	contents := map[int]bool{}
	for i := 0; i < len(list); {
		j := i + 1
		for j < len(list) && list[j].flags&flagGroup == 0 {
			j++
		}
		l.replayGroup(n, v, list[i:j], torn, scarred, contents)
		i = j
	}
}

func (l *loader) tornBatch(n uint64, v *view, scarred bool) {
	l.torn++
	if scarred {
		return
	}
	l.fresh = append(l.fresh, scar{segment: n, offset: v.off, octets: v.octets, number: v.edge.number, torn: true})
	l.find(Finding{
		Kind: Torn, Recipient: -1, Segment: n, Offset: v.off, Octets: v.octets, Batch: v.edge.number,
		Detail: "a batch without its trailer",
	})
}

// replayGroup applies what one call gave. Beyond S it counts whole or not at
// all; otherwise each good record counts and each bad one is named.
func (l *loader) replayGroup(n uint64, v *view, list []recordView, torn, scarred bool, contents map[int]bool) {
	whole := true
	for i := range list {
		whole = whole && list[i].good
		if torn && list[i].good && !draftThere(l.fs, l.dir, &list[i]) {
			whole = false
		}
		if list[i].typ == recContent {
			contents[list[i].pos] = list[i].good
		}
	}
	if torn && !whole {
		l.torn++
		if !scarred {
			l.find(Finding{
				Kind: Torn, ID: list[0].id, Recipient: -1, Segment: n, Offset: v.off, Batch: v.edge.number,
				Detail: "a group that was never acknowledged",
			})
		}
		return
	}
	for i := range list {
		at := place{batch: v.edge.number, segment: uint32(n), offset: uint32(v.off) + uint32(list[i].pos), length: recordOctets + list[i].length}
		if list[i].good {
			l.apply(&list[i], at, contents)
		} else {
			l.hurt(n, v, &list[i], scarred)
		}
	}
}

// draftThere reports whether the draft file that an accept names is there with
// the right size.
func draftThere(fsys durable.FS, dir string, r *recordView) bool {
	if r.typ != recAccept && r.typ != recCopy || !r.good {
		return true
	}
	body := reader{b: r.body}
	env, ref := body.acceptHead(r.id)
	return body.bad || !ref.draft || draftSize(fsys, dir, ref.id) == env.Size
}

func draftSize(fsys durable.FS, dir string, id envelope.ID) int64 {
	fi, err := fsys.Stat(draftName(dir, id))
	if err != nil {
		return -1
	}
	return fi.Size()
}

// apply does what one good record says.
func (l *loader) apply(r *recordView, at place, contents map[int]bool) {
	body := reader{b: r.body}
	switch r.typ {
	case recContent:
	case recAccept, recCopy:
		l.applyAccept(r, &body, at, contents)
	case recMove, recFinish:
		c, _, err := body.change(r.id)
		if err != nil {
			l.unknown(r, at)
			return
		}
		l.idx.change(c.ID, c.Recipient, c.To, c.Cause, c.Attempt != nil, nanos(c.NextAttempt))
	case recNote:
		if kind := body.u8(); kind == noteAdopted {
			a := body.adoption()
			if !body.bad && !l.adopted[a.incarnation] {
				l.adopted[a.incarnation] = true
				l.idx.adopt(&a)
			}
		} else if kind != noteScar {
			l.unknown(r, at)
		}
	default:
		l.unknown(r, at)
	}
}

func (l *loader) applyAccept(r *recordView, body *reader, at place, contents map[int]bool) {
	env, ref, err := body.accept(r.id)
	var list []recipient
	if err == nil && r.typ == recCopy {
		list, err = body.statuses(len(env.Forward))
	}
	if err != nil {
		l.unknown(r, at)
		return
	}
	if _, live := l.idx.get(r.id); live {
		if r.typ == recCopy {
			l.idx.relocate(r.id, at)
		}
		return
	}
	l.idx.insert(env, ref, at, list)
	if !ref.draft && !ref.none {
		if good, seen := contents[r.pos-int(ref.distance)]; !seen || !good {
			l.lostContent(env, at)
		}
	}
}

// lostContent holds a message whose content is destroyed.
func (l *loader) lostContent(env *envelope.Envelope, at place) {
	f := named(Finding{
		Kind: LostContent, Recipient: -1, Segment: uint64(at.segment), Offset: int64(at.offset),
		Holder: fmt.Sprintf("segment-%08d", at.segment), Detail: "its content is destroyed",
	}, env)
	l.find(f)
	l.holdAll(env.ID, cause.LocalDamage)
}

// holdAll keeps back every recipient that is queued.
func (l *loader) holdAll(id envelope.ID, why cause.Cause) {
	e, ok := l.idx.get(id)
	if !ok {
		return
	}
	for i, r := range l.idx.recipients(id, &e) {
		if r.state == envelope.Queued {
			l.idx.change(id, i, envelope.Held, why, false, 0)
		}
	}
}

// unknown remembers a record that this build does not know: its message is
// held and its segment kept.
func (l *loader) unknown(r *recordView, at place) {
	l.idx.use(at.segment).pinned = true
	l.find(Finding{
		Kind: UnknownRecord, ID: r.id, Recipient: -1, Segment: uint64(at.segment), Offset: int64(at.offset),
		Octets: int64(at.length), Holder: fmt.Sprintf("segment-%08d", at.segment), Detail: fmt.Sprintf("record type %d of a newer build", r.typ),
	})
	if !r.id.IsZero() {
		l.doubtful[r.id] = true
	}
}

func (l *loader) holdDoubtful() {
	for id := range l.doubtful {
		l.idx.doubt(id)
	}
}

// hurt names a destroyed record.
func (l *loader) hurt(n uint64, v *view, r *recordView, scarred bool) {
	if scarred {
		return
	}
	f := Finding{
		ID: r.id, Recipient: -1, Segment: n, Offset: v.off + int64(r.pos), Octets: int64(r.length), Batch: v.edge.number,
		Holder: fmt.Sprintf("segment-%08d", n),
	}
	switch {
	case r.rest:
		f.Kind, f.Octets, f.Detail = LostMessage, v.octets-int64(r.pos), "the rest of a batch is destroyed"
		l.missing = append(l.missing, span{v.edge.number, v.edge.number})
	case r.typ == recContent:
		return // the accepts that use it are named, with their recipients
	case r.typ == recAccept || r.typ == recCopy:
		f.Kind, f.Detail = LostMessage, "its accept is destroyed"
		if _, live := l.idx.get(r.id); live {
			f.Kind, f.Detail = LostChange, "a copy of its accept is destroyed; the first one is good"
		}
	case r.typ == recMove || r.typ == recFinish:
		f.Kind, f.Detail = LostChange, "a change of it is destroyed: it may be tried again"
	default:
		f.Kind, f.Detail = LostChange, fmt.Sprintf("a record of type %d is destroyed", r.typ)
	}
	l.find(f)
}

// named fills in what an envelope tells.
func named(f Finding, env *envelope.Envelope) Finding {
	f.ID, f.Tenant, f.Reverse, f.Time = env.ID, env.Tenant, env.Reverse, env.Arrival.Time
	f.Forward = nil
	for i := range env.Forward {
		f.Forward = append(f.Forward, env.Forward[i].Path)
	}
	return f
}

// checkPlaces names live messages whose segment is gone or cannot be read.
func (l *loader) checkPlaces() {
	for n := range l.idx.segments {
		seg := l.segs[uint64(n)]
		if u := l.idx.segments[n]; u.messages == 0 || seg != nil && !seg.bad && seg.file != nil {
			continue
		}
		newer := seg != nil && seg.file != nil
		for _, id := range l.idx.in(n) {
			l.find(Finding{
				Kind: LostMessage, ID: id, Recipient: -1, Segment: uint64(n),
				Holder: fmt.Sprintf("segment-%08d", n), Detail: "its segment is gone or cannot be read", counted: true,
			})
			if newer {
				l.holdAll(id, cause.LocalDamage)
			} else {
				l.idx.lose(id)
			}
		}
	}
}

// checkDrafts names live messages whose draft file is gone or cut.
func (l *loader) checkDrafts() {
	for id, d := range l.idx.draftOf {
		e, _ := l.idx.get(id)
		size := draftSize(l.fs, l.dir, d)
		if size < 0 && l.movedTo != "" {
			size = draftSize(l.fs, l.movedTo, d)
		}
		if size != int64(e.size) {
			l.find(Finding{
				Kind: MissingDraft, ID: id, Recipient: -1, Holder: "draft-" + d.String(),
				Detail: fmt.Sprintf("the draft file has %d octets instead of %d", size, e.size),
			})
			l.holdAll(id, cause.LocalDamage)
		}
	}
}
