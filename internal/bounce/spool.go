package bounce

import (
	"context"
	"fmt"

	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/spool"
)

// OfSpool makes a spool this package's Store.
func OfSpool(s *spool.Spool) Store { return ofSpool{s} }

type ofSpool struct{ s *spool.Spool }

func (o ofSpool) NextID() envelope.ID { return o.s.NextID() }

func (o ofSpool) Apply(ctx context.Context, changes []envelope.Change) error {
	return o.s.Apply(ctx, changes)
}

func (o ofSpool) Envelope(id envelope.ID) (*envelope.Envelope, []envelope.Status, error) {
	return o.s.Envelope(id)
}

func (o ofSpool) Content(id envelope.ID) (Content, error) {
	c, err := o.s.Content(id)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (o ofSpool) Commit(ctx context.Context, content []byte, env *envelope.Envelope, changes []envelope.Change) error {
	d, err := o.s.NewDraft(ctx)
	if err != nil {
		return err
	}
	if _, err := d.Write(content); err != nil {
		d.Abort()
		return fmt.Errorf("write report: %w", err)
	}
	return o.s.Commit(ctx, d, []*envelope.Envelope{env}, changes)
}
