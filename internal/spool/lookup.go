package spool

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/postern-mail/postern/internal/envelope"
)

// Claim takes the one right to attempt id. It is false when another holds it
// or when id is not live. Claims live in memory only.
func (s *Spool) Claim(id envelope.ID) bool {
	s.claimMu.Lock()
	defer s.claimMu.Unlock()
	if _, taken := s.claims[id]; taken {
		return false
	}
	s.idx.mu.RLock()
	_, live := s.idx.get(id)
	s.idx.mu.RUnlock()
	if live {
		s.claims[id] = struct{}{}
	}
	return live
}

// Unclaim gives the right back. It is harmless without a claim.
func (s *Spool) Unclaim(id envelope.ID) {
	s.claimMu.Lock()
	defer s.claimMu.Unlock()
	delete(s.claims, id)
}

// Envelope reads a live message's envelope from the log, and where each of its
// recipients stands. ErrGone, ErrDamaged.
func (s *Spool) Envelope(id envelope.ID) (*envelope.Envelope, []envelope.Status, error) {
	for {
		e, statuses, err := s.status(id)
		if err != nil {
			return nil, nil, err
		}
		env, _, err := s.readAccept(id, &e)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		return env, statuses, nil
	}
}

func (s *Spool) status(id envelope.ID) (entry, []envelope.Status, error) {
	s.idx.mu.RLock()
	defer s.idx.mu.RUnlock()
	e, ok := s.idx.get(id)
	if !ok {
		return e, nil, fmt.Errorf("message %v: %w", id, ErrGone)
	}
	list := s.idx.recipients(id, &e)
	out := make([]envelope.Status, len(list))
	for i := range list {
		out[i] = list[i].status()
	}
	return e, out, nil
}

func (r *recipient) status() envelope.Status {
	return envelope.Status{State: r.state, Attempts: r.attempts, NextAttempt: fromNanos(r.next), Cause: r.cause}
}

// Live yields every live message, in any order, until yield is false. Messages
// that come or go meanwhile may be missed or not. No lock is held while yield
// runs, so it may call the spool.
func (s *Spool) Live(yield func(Entry) bool) {
	var list []Entry
	var rcpts []EntryRecipient
	for i := range stripes {
		list, rcpts = s.liveIn(i, list[:0], rcpts[:0])
		for j := range list {
			if !yield(list[j]) {
				return
			}
		}
	}
}

// liveIn copies one stripe.
func (s *Spool) liveIn(i int, list []Entry, rcpts []EntryRecipient) ([]Entry, []EntryRecipient) {
	x := s.idx
	x.mu.RLock()
	defer x.mu.RUnlock()
	for id, e := range x.stripes[i].m {
		out := Entry{ID: id, Tenant: x.tenants.name(e.tenant), Kind: e.kind, Arrival: fromNanos(e.arrival), Size: int64(e.size)}
		from := len(rcpts)
		earliest := int64(0)
		for _, r := range x.recipients(id, &e) {
			rcpts = append(rcpts, EntryRecipient{Status: r.status(), Domain: x.domains.name(r.domain)})
			if r.state == envelope.Queued && (earliest == 0 || r.next < earliest) {
				earliest = r.next
			}
		}
		out.Earliest = fromNanos(earliest)
		out.Recipients = rcpts[from:len(rcpts):len(rcpts)]
		list = append(list, out)
	}
	return list, rcpts
}

// Resolve returns the IDs that end in suffix (at least envelope.MinSuffix
// characters, either case): live ones, and when there is none those that the
// event log remembers.
func (s *Spool) Resolve(suffix string) ([]envelope.ID, error) {
	if len(suffix) < envelope.MinSuffix || len(suffix) > 26 {
		return nil, fmt.Errorf("resolve %q: %w", suffix, envelope.ErrID)
	}
	suffix = strings.ToUpper(suffix)
	var ids []envelope.ID
	if id, err := envelope.ParseID(suffix); err == nil {
		return []envelope.ID{id}, nil
	}
	s.idx.mu.RLock()
	for i := range s.idx.stripes {
		for id := range s.idx.stripes[i].m {
			if hasSuffix(id, suffix) {
				ids = append(ids, id)
			}
		}
	}
	s.idx.mu.RUnlock()
	if len(ids) > 0 {
		return ids, nil
	}
	return s.events.resolve(context.Background(), suffix)
}

func hasSuffix(id envelope.ID, suffix string) bool { return strings.HasSuffix(id.String(), suffix) }
