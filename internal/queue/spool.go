package queue

import (
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/spool"
)

// What a Store says of a message, in the spool's own words.
var (
	// ErrGone says that a message is not live: it ended, or never was. The
	// queue forgets it without a word.
	ErrGone = spool.ErrGone
	// ErrDamaged says that a message's octets do not match their sum. The
	// queue holds it and names it.
	ErrDamaged = spool.ErrDamaged
)

// OfSpool makes a spool the queue's Store.
func OfSpool(s *spool.Spool) Store { return ofSpool{s} }

type ofSpool struct{ *spool.Spool }

// Mark draws an ID.
func (o ofSpool) Mark() envelope.ID { return o.NextID() }

// Content opens a message's content.
func (o ofSpool) Content(id envelope.ID) (Content, error) {
	c, err := o.Spool.Content(id)
	if err != nil {
		return nil, err // not a nil *spool.Content in an interface
	}
	return c, nil
}

// Live yields what the spool's index holds.
func (o ofSpool) Live(yield func(Entry) bool) {
	var rcpts []EntryRecipient
	o.Spool.Live(func(e spool.Entry) bool {
		rcpts = rcpts[:0]
		for i := range e.Recipients {
			rcpts = append(rcpts, EntryRecipient(e.Recipients[i]))
		}
		return yield(Entry{ID: e.ID, Tenant: e.Tenant, Arrival: e.Arrival, Size: e.Size, Recipients: rcpts})
	})
}
