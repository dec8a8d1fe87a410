package spool

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/postern-mail/postern/internal/envelope"
)

// log says one finding. Torn is what every power cut leaves.
func (f *Finding) log(log *slog.Logger) {
	level := slog.LevelError
	if f.Kind == Torn {
		level = slog.LevelInfo
	}
	id := ""
	if !f.ID.IsZero() {
		id = f.ID.String()
	}
	log.Log(context.Background(), level, "spool finding", "kind", string(f.Kind), "id", id, "recipients", len(f.Forward),
		"holder", f.Holder, "segment", f.Segment, "offset", f.Offset, "batch", f.Batch, "detail", f.Detail)
}

// String is the finding on one line, for people.
func (f Finding) String() string {
	id := "unknown message"
	if !f.ID.IsZero() {
		id = f.ID.String()
	}
	s := fmt.Sprintf("%s: %s", f.Kind, id)
	for _, p := range f.Forward {
		s += fmt.Sprintf(" <%s@%s>", p.Local, p.Domain)
	}
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	if f.Holder != "" {
		s += " (" + f.Holder + ")"
	}
	return s
}

// nameLost asks the event log whose mail it was that recovery found destroyed,
// counts it as lost, and writes that down as an event.
func (s *Spool) nameLost(ctx context.Context, l *loader, rec *Recovery) {
	rec.Findings = append(rec.Findings, l.findings[rec.named:]...)
	rec.named = len(l.findings)
	if !rec.Hurt() {
		return
	}
	wanted := map[envelope.ID]bool{}
	for i := range rec.Findings {
		if f := &rec.Findings[i]; !f.ID.IsZero() {
			wanted[f.ID] = true
		}
	}
	told, err := s.events.tellAbout(ctx, wanted, l.missing)
	if err != nil {
		s.cfg.Logger.Warn("spool event log could not be read", "error", err.Error())
	}
	s.fillIn(rec, told)
	for id, st := range told {
		if !wanted[id] && st.env != nil && !s.isLive(id) && !st.ended() {
			f := named(Finding{Kind: LostMessage, Recipient: -1, Holder: st.holder, Detail: "its accept is destroyed; the event log remembers it"}, st.env)
			rec.Findings = append(rec.Findings, f)
		}
	}
	s.countLost(rec, told)
}

// fillIn completes findings from what the event log, or the log itself, tells.
func (s *Spool) fillIn(rec *Recovery, told map[envelope.ID]*story) {
	for i := range rec.Findings {
		f := &rec.Findings[i]
		if f.ID.IsZero() || f.Forward != nil {
			continue
		}
		st := told[f.ID]
		if st == nil || st.env == nil {
			if env, _, err := s.Envelope(f.ID); err == nil {
				*f = named(*f, env)
			}
			continue
		}
		*f = named(*f, st.env)
		if st.holder != "" && f.Holder == "" {
			f.Holder = st.holder
		}
	}
}

// countLost puts messages whose accept is destroyed into the ledger, as a
// source and as lost, with what had ended before.
func (s *Spool) countLost(rec *Recovery, told map[envelope.ID]*story) {
	now := s.cfg.Clock()
	seen := map[envelope.ID]bool{}
	for i := range rec.Findings {
		f := &rec.Findings[i]
		if f.Kind != LostMessage || f.ID.IsZero() || seen[f.ID] {
			continue
		}
		seen[f.ID] = true
		s.events.lost(f.ID, now, f.Detail)
		st := told[f.ID]
		if st == nil || st.env == nil || s.isLive(f.ID) || f.counted {
			continue
		}
		s.idx.mu.Lock()
		l := &s.idx.ledger[s.idx.tenant(st.env.Tenant)]
		n := int64(len(st.env.Forward))
		l.Sources[kindIndex(st.env.Kind)] += n
		for _, to := range st.terminal {
			l.count(to, 1)
			n--
		}
		l.Lost += n
		s.idx.mu.Unlock()
	}
}
