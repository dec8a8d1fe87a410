package queue

import (
	"context"
	"io"
	"time"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/tenant"
)

// Store is what the queue needs of the spool. Every method is safe for
// concurrent use. The queue calls none of them with its mutex held, so that
// Live may call back while it holds its own.
type Store interface {
	// Mark draws a new ID. IDs drawn later, by anyone, are greater.
	Mark() envelope.ID
	// Claim takes the one right to attempt id. It is false when another holds
	// it or when id is not live.
	Claim(id envelope.ID) bool
	// Unclaim gives the right back. It is harmless after id ended.
	Unclaim(id envelope.ID)
	// Envelope reads a live message. ErrGone, ErrDamaged.
	Envelope(id envelope.ID) (*envelope.Envelope, []envelope.Status, error)
	// Content opens a live message's content. ErrGone, ErrDamaged.
	Content(id envelope.ID) (Content, error)
	// Apply makes changes lasting and returns when they are written and
	// ordered. It does not keep the slice. ErrGone: the message has ended.
	Apply(ctx context.Context, changes []envelope.Change) error
	// Live yields every live message in any order until yield is false. The
	// entry's Recipients are only good during the call.
	Live(yield func(Entry) bool)
}

// Content is a message's content, open for reading.
type Content interface {
	io.ReaderAt
	Size() int64
	Close() error
}

// Entry is what Store.Live says of one live message.
type Entry struct {
	ID         envelope.ID
	Tenant     string
	Arrival    time.Time // zero when the index does not hold it
	Size       int64     // octets of content, 0 when the index does not hold it
	Recipients []EntryRecipient
}

// EntryRecipient is one recipient of an Entry: where it stands, and its
// domain's key ("" for a bare <postmaster>).
type EntryRecipient struct {
	envelope.Status
	Domain string
}

// Transport opens lanes. It is asked once for each lane and must not wait:
// connecting belongs to the lane's first Deliver.
type Transport interface {
	Lane(hop tenant.NextHop) Lane
}

// TransportFunc makes a function a Transport; it is how the composition root
// joins a relay whose Lane method returns its own type.
type TransportFunc func(tenant.NextHop) Lane

// Lane calls f.
func (f TransportFunc) Lane(hop tenant.NextHop) Lane { return f(hop) }

// Lane carries messages to one next hop, one after the other, over a
// connection that it keeps between them. It is used by one goroutine.
type Lane interface {
	// Deliver tries the recipients whose indexes into env.Forward are given
	// (1 to 100) in one transaction and returns one Outcome for each. It ends
	// soon after ctx does. It does not keep env, rcpts or content.
	Deliver(ctx context.Context, env *envelope.Envelope, rcpts []int, content io.ReaderAt, size int64) []envelope.Outcome
	// Close ends the connection, if there is one, within seconds. It is
	// called once.
	Close()
}
