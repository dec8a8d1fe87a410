package queue

import (
	"bytes"
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
)

// listMax is the most items of one page, and listRead the most messages that
// are read from the store to fill one. Chosen: a page is a second's work.
const (
	listMax  = 10_000
	listRead = 100_000
)

// Filter says which items List shows. Zero fields do not narrow.
type Filter struct {
	NextHop string // key, exactly
	Tenant  string
	State   string // waiting, ready, active or held
	Domain  string // key of a forward-path's domain
	Reverse string // reverse-path, compared as smtp.Path.Key does; "<>" is the null reverse-path
	Forward string // forward-path, the same
	Limit   int    // 0: 1000; at most 10,000
	After   Cursor // where the page before ended
}

// Cursor is where a page ended: the last item seen, in the order of IDs. The
// zero value is the beginning.
type Cursor struct {
	ID      envelope.ID `json:"id"`
	NextHop string      `json:"next_hop,omitempty"`
}

// Page is a part of the queue's list.
type Page struct {
	Items []Item `json:"items"`
	// Next, when More is true, is Filter.After of the next page. A page may be
	// shorter than Limit, even empty, and still have more behind it.
	Next Cursor `json:"next,omitzero"`
	More bool   `json:"more,omitempty"`
}

// Item is one message, or the part of it for one next hop.
type Item struct {
	ID          string    `json:"id"`
	Tenant      string    `json:"tenant,omitempty"`
	Reverse     string    `json:"reverse_path"` // "" is the null reverse-path
	Recipients  []string  `json:"forward_paths"`
	NextHop     string    `json:"next_hop"`
	State       string    `json:"state"` // waiting, ready, active, held
	Size        int64     `json:"size"`  // octets of content
	Arrived     time.Time `json:"arrived"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	Attempts    int       `json:"attempts"`
	Cause       string    `json:"cause,omitempty"`
	LastReply   string    `json:"last_reply,omitempty"` // the next hop's last negative words to anyone
}

// row is what the table knows of an item that is to be listed.
type row struct {
	id        envelope.ID
	hop       string
	tenant    string
	lastReply string
	due       time.Time
	attempts  int
	cause     cause.Cause
	phase     phase
}

func (r *row) compare(id envelope.ID, hop string) int {
	if c := bytes.Compare(r.id[:], id[:]); c != 0 {
		return c
	}
	return bytes.Compare([]byte(r.hop), []byte(hop))
}

// rows is a heap with the last row, in the order of the list, on top: what
// falls out when a page is full.
type rows []row

func (s rows) Len() int           { return len(s) }
func (s rows) Less(i, j int) bool { return s[i].compare(s[j].id, s[j].hop) > 0 }
func (s rows) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }

// Push implements heap.Interface.
func (s *rows) Push(x any) { *s = append(*s, x.(row)) }

// Pop implements heap.Interface.
func (s *rows) Pop() any {
	last := len(*s) - 1
	r := (*s)[last]
	*s = (*s)[:last]
	return r
}

// phaseNames are the words of Item.State.
func (p phase) String() string {
	return [...]string{"free", "waiting", "ready", "active", "held"}[p]
}

// List shows a page of the queue in the order of message IDs. Envelopes are
// read from the store; messages that end meanwhile are left out. An error is
// the context's.
func (q *Queue) List(ctx context.Context, f Filter) (Page, error) {
	if f.Limit <= 0 {
		f.Limit = 1000
	}
	f.Limit = min(f.Limit, listMax)
	byPath := f.Reverse != "" || f.Forward != "" || f.Domain != ""
	want := f.Limit
	if byPath {
		want = listRead
	}
	found, more := q.candidates(&f, want)
	page := Page{Items: []Item{}, More: more}
	for i := range found {
		if err := ctx.Err(); err != nil {
			return Page{}, err
		}
		page.Next = Cursor{ID: found[i].id, NextHop: found[i].hop}
		if item, ok := q.describe(&found[i], &f); ok {
			page.Items = append(page.Items, item)
		}
		if len(page.Items) == f.Limit && i+1 < len(found) {
			page.More = true
			break
		}
	}
	if !page.More {
		page.Next = Cursor{}
	}
	return page, nil
}

// candidates are the first n items in order behind the cursor that the table
// alone does not rule out, and whether there are more.
func (q *Queue) candidates(f *Filter, n int) (found rows, more bool) {
	wall := q.cfg.Clock()
	q.walk(func(_ ref, it *item) {
		h := q.hops[it.hop]
		if f.NextHop != "" && h.route.Key != f.NextHop ||
			f.Tenant != "" && q.tenants[it.tenant] != f.Tenant ||
			f.State != "" && it.phase.String() != f.State {
			return
		}
		r := row{
			id: it.id, hop: h.route.Key, tenant: q.tenants[it.tenant], lastReply: h.lastReply,
			attempts: int(it.attempts), cause: it.cause, phase: it.phase,
		}
		if r.compare(f.After.ID, f.After.NextHop) <= 0 && f.After != (Cursor{}) {
			return
		}
		if len(found) == n {
			more = true
			if r.compare(found[0].id, found[0].hop) >= 0 {
				return
			}
			heap.Pop(&found)
		}
		switch {
		case it.phase == waiting:
			r.due = wall.Add(time.Duration(it.due - q.mono())).Round(0)
		case it.phase == ready && h.down:
			r.due = wall.Add(time.Duration(h.until - q.mono())).Round(0)
		}
		heap.Push(&found, r)
	})
	slices.SortFunc(found, func(a, b row) int { return a.compare(b.id, b.hop) })
	return found, more
}

// describe reads a row's envelope; false when it has ended or is not wanted.
func (q *Queue) describe(r *row, f *Filter) (Item, bool) {
	it := Item{
		ID: r.id.String(), Tenant: r.tenant, NextHop: r.hop, State: r.phase.String(), NextAttempt: r.due,
		Attempts: r.attempts, Cause: word(r.cause), LastReply: r.lastReply, Recipients: []string{},
	}
	env, statuses, err := q.cfg.Store.Envelope(r.id)
	if err != nil { // ended, or it can't be read: then the table's word is all there is
		return it, r.phase == held && f.Reverse == "" && f.Forward == "" && f.Domain == ""
	}
	if !env.Reverse.IsNull() {
		it.Reverse = env.Reverse.String()
	}
	if f.Reverse != "" && !samePath(env.Reverse, f.Reverse) {
		return it, false
	}
	it.Size, it.Arrived = env.Size, env.Arrival.Time
	hit := f.Forward == "" && f.Domain == ""
	for i := range env.Forward {
		p := env.Forward[i].Path
		domain := domainKey(p)
		if i < len(statuses) && statuses[i].State.Terminal() || q.cfg.Route(env.Tenant, domain).Key != r.hop {
			continue
		}
		it.Recipients = append(it.Recipients, p.String())
		hit = hit || (f.Forward == "" || samePath(p, f.Forward)) && (f.Domain == "" || domain == f.Domain)
	}
	return it, hit
}

// samePath reports whether p matches what a person typed.
func samePath(p smtp.Path, typed string) bool {
	if p.IsNull() || typed == "<>" {
		return p.IsNull() && typed == "<>"
	}
	if t, err := smtp.ParseMailbox(typed); err == nil {
		return p.Key() == t.Key()
	}
	return p.String() == typed
}

// domainKey is the key by which a forward-path is routed: "" for the bare
// <postmaster>. A domain that has no key was accepted by mistake; its own
// octets then find no route that leads anywhere.
func domainKey(p smtp.Path) string {
	if p.Domain == "" {
		return ""
	}
	key, err := smtp.DomainKey(p.Domain)
	if err != nil {
		return p.Domain
	}
	return key
}
