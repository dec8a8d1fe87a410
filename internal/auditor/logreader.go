package auditor

import "fmt"

// logReader reads one log's records in order and hands over those that count.
type logReader struct {
	s    *store
	sp   *span
	what string
	// before is called before each batch that is looked at.
	before func(number uint64)
	// events: an event file that a crash left open is never continued, and no
	// scar tells of its torn end. So what is bad at the end of such a file is
	// torn; what should be in it is looked for message by message.
	events bool
	tail   []Damage // events: bad, and no whole batch behind it yet
	apply  func(f *logFile, w *window, b batch, list []record, r record)
}

func (l *logReader) run(files []*logFile) {
	var last uint64
	for i, f := range files {
		if !f.ok {
			continue
		}
		w, err := l.s.open(f.rel)
		if err != nil {
			continue // named in pass 1
		}
		fresh := true
		batches(w, f.head.seed, func(b batch) bool {
			known := b.header || b.trailer
			whole := i == 0 || files[i-1].ok && files[i-1].number+1 == f.number
			if fresh && known && whole && !l.events && last > 0 && b.base > last {
				l.s.hurt(Damage{
					File: f.rel, Offset: b.start, Batch: b.base,
					What: fmt.Sprintf("batches %d to %d, before this file, are missing", last+1, b.base),
				})
			}
			fresh = fresh && !known
			last = max(last, l.batch(f, w, b, last))
			return l.s.a.ctx.Err() == nil
		})
		if w.err != nil {
			l.s.trouble(f.rel, w.err)
		}
		w.close()
		for _, d := range l.tail {
			l.s.a.rep.torn(d)
		}
		l.tail = nil
	}
	l.sp.last = last
	if n := len(files); n > 0 && last < l.sp.synced && !l.events {
		// Only a checkpoint may know of a batch that never reached the disk:
		// one without records, after its sync. Had it had records, then the
		// checkpoint would differ from the log, and cross says so.
		l.blame(Damage{
			File: files[n-1].rel, Batch: l.sp.synced,
			What: fmt.Sprintf("the %s ends with batch %d, but %d was synced", l.what, last, l.sp.synced),
		}, last < l.sp.told)
	}
}

// batch judges one batch by the rules of "Torn tail and damage" and returns
// its number when it took place, else 0.
func (l *logReader) batch(f *logFile, w *window, b batch, last uint64) uint64 {
	place := Damage{File: f.rel, Offset: b.start, Octets: b.end - b.start, Batch: b.number}
	if !b.header && !b.trailer {
		place.What = "no batch can be read here"
		l.blame(place, l.sp.synced > last)
		return 0
	}
	l.s.a.rep.Counts.Batches++
	if l.sp.skip(b.number) {
		place.What = "abandoned batch"
		l.s.a.rep.torn(place)
		return 0
	}
	if b.number <= last {
		place.What = fmt.Sprintf("batch %d comes after batch %d", b.number, last)
		l.s.hurt(place)
		return 0
	}
	if l.before != nil {
		l.before(b.number)
	}
	list := records(w, f.head.seed, b)
	if b.header && b.trailer {
		l.flush()
	}
	if !l.weigh(place, b, list) {
		return 0
	}
	for _, r := range list {
		if r.counts {
			l.s.a.rep.Counts.Records++
			l.apply(f, w, b, list, r)
		}
	}
	return b.number
}

func (l *logReader) blame(d Damage, damaged bool) {
	switch {
	case !damaged:
		l.s.a.rep.torn(d)
	case l.events:
		l.tail = append(l.tail, d)
	default:
		l.s.hurt(d)
	}
}

// flush is called at a whole batch: what is bad before it is damage.
func (l *logReader) flush() {
	for _, d := range l.tail {
		l.s.hurt(d)
	}
	l.tail = nil
}

// weigh marks the records that count and names the others. It returns false
// for a batch that does not exist.
func (l *logReader) weigh(place Damage, b batch, list []record) bool {
	synced := l.sp.acknowledged(b.number)
	place.Redundant = synced || b.trailer // its records are looked at one by one
	switch {
	case !b.trailer && !synced:
		place.What = "torn batch"
		l.s.a.rep.torn(place)
		return false
	case !b.trailer:
		place.What = "the batch's trailer is damaged"
		l.blame(place, true)
	case !b.header:
		place.What = "the batch's header is damaged"
		l.blame(place, synced)
	}
	for i := range list {
		r := &list[i]
		if r.counts = r.good && (synced || wholeGroup(list, i)); r.good {
			continue
		}
		bad := Damage{File: place.File, Offset: r.at, Octets: recordLen + int64(r.length), Batch: b.number, ID: r.id, What: "the record's sum is wrong"}
		if r.kind != 0 {
			bad.Record = recordName(r.kind)
		}
		l.blame(bad, synced)
	}
	return true
}

func wholeGroup(list []record, i int) bool {
	for j := i; j >= 0; j-- {
		if !list[j].good {
			return false
		}
		if list[j].group {
			break
		}
	}
	for j := i + 1; j < len(list) && !list[j].group; j++ {
		if !list[j].good {
			return false
		}
	}
	return true
}
