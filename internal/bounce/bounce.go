package bounce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-mail/postern/internal/dsn"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/telemetry"
)

// Store is what this package needs of the spool.
type Store interface {
	// NextID draws an ID that was never drawn before.
	NextID() envelope.ID
	// Commit makes the report and the changes lasting, all or none.
	Commit(ctx context.Context, content []byte, env *envelope.Envelope, changes []envelope.Change) error
	// Apply makes changes lasting.
	Apply(ctx context.Context, changes []envelope.Change) error
	// Envelope reads a live message and where its recipients stand.
	Envelope(id envelope.ID) (*envelope.Envelope, []envelope.Status, error)
	// Content opens a live message's content.
	Content(id envelope.ID) (Content, error)
}

// Content is a message's content, open for reading.
type Content interface {
	io.ReaderAt
	Size() int64
	Close() error
}

// Config is what a Bouncer is made of. Store, Offer and Hostname are needed.
type Config struct {
	Store Store
	// Offer tells the queue of a report that was committed.
	Offer func(env *envelope.Envelope)
	// Hostname is this node's name, in From and as the Reporting-MTA.
	Hostname string
	// FullMax is the most octets of an original that is returned whole when
	// RET asks for it. dsn.FullMax, 64 KiB.
	FullMax int64
	// PerReverse bounds the reports to one reverse-path in an hour. 500;
	// chosen: a person reads fewer, a program that sends to a dead list does
	// not learn more from the next.
	PerReverse int
	// Total bounds the reports in an hour. 20,000; chosen.
	Total int

	Clock   telemetry.Clock // telemetry.WallClock
	Logger  *slog.Logger    // slog.Default()
	Metrics prometheus.Registerer
}

// Bouncer makes reports. It is safe for concurrent use.
type Bouncer struct {
	cfg     Config
	log     *slog.Logger
	bound   bound
	counter counters
}

// New makes a Bouncer.
func New(cfg Config) (*Bouncer, error) {
	if cfg.Store == nil || cfg.Offer == nil || cfg.Hostname == "" {
		return nil, errors.New("bounce: Store, Offer and Hostname are needed")
	}
	if cfg.FullMax <= 0 {
		cfg.FullMax = dsn.FullMax
	}
	if cfg.PerReverse <= 0 {
		cfg.PerReverse = 500
	}
	if cfg.Total <= 0 {
		cfg.Total = 20_000
	}
	if cfg.Clock == nil {
		cfg.Clock = telemetry.WallClock
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	b := &Bouncer{cfg: cfg, log: cfg.Logger, bound: bound{perKey: cfg.PerReverse, total: cfg.Total}}
	if err := b.counter.register(cfg.Metrics); err != nil {
		return nil, fmt.Errorf("bounce metrics: %w", err)
	}
	return b, nil
}

// Report makes lasting that recipients of env ended: those in ended with To
// Bounced (their next hop refused them, or their time is over) and those with
// To Delivered for whom a "relayed" report was asked. It commits one report
// with all changes, or applies the changes with DSNSuppressed for Bounced. An
// error means that nothing has changed; ended is not written to.
func (b *Bouncer) Report(ctx context.Context, env *envelope.Envelope, ended []envelope.Change) error {
	changes := append([]envelope.Change(nil), ended...)
	var told []int
	for i := range changes {
		switch reason := refuse(env, &changes[i]); {
		case reason == "":
			told = append(told, i)
		case changes[i].To == envelope.Bounced:
			b.suppress(env, &changes[i], reason)
		}
	}
	if len(told) > 0 && !b.bound.take(env.Reverse.Key(), b.cfg.Clock()) {
		for _, i := range told {
			if changes[i].To == envelope.Bounced {
				b.suppress(env, &changes[i], "rate")
			}
		}
		told = nil
	}
	if len(told) == 0 {
		if err := b.cfg.Store.Apply(ctx, changes); err != nil {
			return fmt.Errorf("end recipients of %v: %w", env.ID, err)
		}
		return nil
	}
	return b.commit(ctx, env, changes, told)
}

// refuse says why no report may be made for a recipient; "" when one may.
func refuse(env *envelope.Envelope, c *envelope.Change) string {
	switch {
	case env.Kind != envelope.Submitted && env.Kind != envelope.Trusted:
		return "kind"
	case env.Reverse.IsNull():
		return "null-reverse-path"
	}
	notify := env.Forward[c.Recipient].Params.Notify
	if c.To == envelope.Delivered {
		if notify&smtp.NotifySuccess == 0 {
			return "notify"
		}
		return ""
	}
	if notify != 0 && notify&smtp.NotifyFailure == 0 { // RFC 3461 section 4.1: unset means failure
		return "notify"
	}
	return ""
}

func (b *Bouncer) suppress(env *envelope.Envelope, c *envelope.Change, reason string) {
	c.To = envelope.DSNSuppressed
	b.counter.suppressed[reasonNumber(reason)].Add(1)
	b.log.LogAttrs(context.Background(), slog.LevelInfo, "report suppressed",
		slog.String(telemetry.KeyID, env.ID.String()),
		slog.String(telemetry.KeyForwardPath, env.Forward[c.Recipient].Path.String()),
		slog.String(telemetry.KeyReason, reason))
}

// commit builds the report about the changes whose indexes are told, and
// commits it with all of them.
func (b *Bouncer) commit(ctx context.Context, env *envelope.Envelope, changes []envelope.Change, told []int) error {
	now := b.cfg.Clock()
	id := b.cfg.Store.NextID()
	message, err := b.build(env, changes, told, id)
	if err != nil {
		return fmt.Errorf("report on %v: %w", env.ID, err)
	}
	report := &envelope.Envelope{
		ID: id, Tenant: env.Tenant, Region: env.Region, Kind: envelope.Report, Parent: env.ID,
		Arrival:  envelope.Arrival{Time: now},
		Params:   smtp.MailParams{SMTPUTF8: message.UTF8},
		Forward:  []envelope.Recipient{{Path: env.Reverse, Params: smtp.RcptParams{Notify: smtp.NotifyNever}}},
		Size:     int64(len(message.Content)),
		EightBit: message.EightBit, UTF8: message.UTF8,
	}
	if message.EightBit {
		report.Params.Body = smtp.Body8BitMIME
	}
	for _, i := range told {
		if changes[i].To == envelope.Bounced {
			changes[i].Report = id
		}
	}
	telemetry.FailPoint("bounce.before-commit")
	if err := b.cfg.Store.Commit(ctx, message.Content, report, changes); err != nil {
		return fmt.Errorf("commit report %v on %v: %w", id, env.ID, err)
	}
	telemetry.FailPoint("bounce.after-commit")
	b.counter.reports.Add(1)
	b.log.LogAttrs(ctx, slog.LevelInfo, "report committed",
		slog.String(telemetry.KeyID, id.String()), slog.String(telemetry.KeyParent, env.ID.String()),
		slog.Int(telemetry.KeyRecipients, len(told)), slog.String(telemetry.KeyForwardPath, env.Reverse.String()))
	b.cfg.Offer(report)
	return nil
}

// build makes the report; without the original when that can't be read.
func (b *Bouncer) build(env *envelope.Envelope, changes []envelope.Change, told []int, id envelope.ID) (dsn.Message, error) {
	r := dsn.Report{
		Hostname: b.cfg.Hostname, MessageID: strings.ToLower(id.String()), About: env.ID.String(),
		To: env.Reverse, EnvID: env.Params.EnvID, Arrival: env.Arrival.Time, Now: b.cfg.Clock(),
		UTF8: env.Params.SMTPUTF8, Ret: env.Params.Ret, FullMax: b.cfg.FullMax,
		Recipients: b.recipients(env, changes, told),
	}
	content, err := b.cfg.Store.Content(env.ID)
	if err != nil {
		b.sayWithout(env.ID, err)
		return dsn.Build(&r)
	}
	r.Original, r.Size = content, content.Size()
	message, err := dsn.Build(&r)
	if closed := content.Close(); closed != nil && err == nil {
		b.sayWithout(env.ID, closed)
	}
	if err != nil {
		b.sayWithout(env.ID, err)
		r.Original = nil
		return dsn.Build(&r)
	}
	return message, nil
}

func (b *Bouncer) sayWithout(id envelope.ID, err error) {
	b.counter.without.Add(1)
	b.log.LogAttrs(context.Background(), slog.LevelWarn, "original can't be read for its report",
		slog.String(telemetry.KeyID, id.String()), slog.Any(telemetry.KeyError, err))
}

// recipients describes the changes to package dsn.
func (b *Bouncer) recipients(env *envelope.Envelope, changes []envelope.Change, told []int) []dsn.Recipient {
	out := make([]dsn.Recipient, 0, len(told))
	var statuses []envelope.Status
	for _, i := range told {
		c := &changes[i]
		f := &env.Forward[c.Recipient]
		r := dsn.Recipient{Final: f.Path, Original: f.Params.ORcpt, Action: dsn.Failed, Cause: c.Cause}
		if c.To == envelope.Delivered {
			r.Action = dsn.Relayed
		}
		if c.Attempt != nil {
			r.Reply, r.LastAttempt, r.Last = c.Attempt.Reply, c.Attempt.Time, c.Attempt.Cause
			if c.Attempt.Peer.IsValid() { // RFC 3464 section 2.3.5: not where no server was reached
				r.Remote = c.Attempt.Host
			}
		} else if statuses == nil {
			_, statuses, _ = b.cfg.Store.Envelope(env.ID) // no news is no last cause
		}
		if c.Attempt == nil && c.Recipient < len(statuses) {
			r.Last = statuses[c.Recipient].Cause
		}
		out = append(out, r)
	}
	return out
}
