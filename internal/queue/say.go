package queue

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/telemetry"
)

// One function for each event that the queue logs. None is called with the
// mutex held.

// maxWords bounds the peer's words in memory and on one line of the log.
const maxWords = 200

func (q *Queue) say(level slog.Level, message string, attrs ...slog.Attr) {
	q.log.LogAttrs(context.Background(), level, message, attrs...) //nolint:sloglint // its callers give constants
}

// sayAttempt is the mail log's line for one attempt: one for each kind of
// outcome that it had.
func (q *Queue) sayAttempt(hop string, j *job, began time.Time, outcomes []envelope.Outcome) {
	if !q.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	took := q.cfg.Clock().Sub(began).Milliseconds()
	for v := envelope.AdviceDelivered; v <= envelope.AdviceFail; v++ {
		n, first := 0, -1
		for i := range outcomes {
			if outcomes[i].Verdict == v {
				if n == 0 {
					first = i
				}
				n++
			}
		}
		if n == 0 {
			continue
		}
		at := &outcomes[first].Attempt
		attrs := append(make([]slog.Attr, 0, 12),
			slog.String(telemetry.KeyID, j.id.String()), slog.String(telemetry.KeyNextHop, hop),
			slog.String(telemetry.KeyHost, at.Host), slog.Int(telemetry.KeyRecipients, n),
			slog.Int(telemetry.KeyAttempt, j.attempts+1), slog.Int64(telemetry.KeyDurationMS, took),
			slog.Int(telemetry.KeyCode, at.Reply.Code))
		if v != envelope.AdviceDelivered {
			attrs = append(attrs, slog.String(telemetry.KeyCause, word(at.Cause)),
				slog.String(telemetry.KeyReply, oneLine(at.Reply)), slog.String(telemetry.KeyError, at.Detail))
		}
		q.say(slog.LevelInfo, attempted(v), attrs...)
	}
}

// attempted is the mail log's word for an outcome.
func attempted(v envelope.Advice) string {
	switch v {
	case envelope.AdviceDelivered:
		return "delivered"
	case envelope.AdviceDefer:
		return "deferred"
	}
	return "refused"
}

// sayTurn tells that a next hop went down or came up.
func (q *Queue) sayTurn(hop string, turned site, res *result) {
	switch turned {
	case siteUp:
		q.say(slog.LevelInfo, "next hop is up", slog.String(telemetry.KeyNextHop, hop))
	case siteDown:
		q.say(slog.LevelWarn, "next hop is down", slog.String(telemetry.KeyNextHop, hop),
			slog.String(telemetry.KeyCause, word(res.cause)), slog.String(telemetry.KeyReply, res.reply))
	}
}

func (q *Queue) sayLoaded(n int, took time.Duration) {
	q.say(slog.LevelInfo, "queue read back", slog.Int(telemetry.KeyCount, n), slog.Int64(telemetry.KeyDurationMS, took.Milliseconds()))
}

func (q *Queue) sayRepaired(n int) {
	q.say(slog.LevelWarn, "scan found mail that the queue was not told of", slog.Int(telemetry.KeyCount, n))
}

func (q *Queue) sayMoved(n int) {
	q.say(slog.LevelInfo, "mail follows a changed route", slog.Int(telemetry.KeyCount, n))
}

func (q *Queue) sayClock(jump time.Duration, stopped bool) {
	if stopped {
		q.say(slog.LevelError, "wall clock jumped, nothing expires until it is confirmed", slog.Int64(telemetry.KeyDurationMS, jump.Milliseconds()))
		return
	}
	q.say(slog.LevelInfo, "wall clock is believed again")
}

func (q *Queue) sayDamaged(id envelope.ID, err error) {
	q.say(slog.LevelError, "message is damaged and held", slog.String(telemetry.KeyID, id.String()), slog.Any(telemetry.KeyError, err))
}

func (q *Queue) sayUnreadable(id envelope.ID, err error) {
	q.say(slog.LevelError, "message can't be read now", slog.String(telemetry.KeyID, id.String()), slog.Any(telemetry.KeyError, err))
}

func (q *Queue) sayClose(id envelope.ID, err error) {
	q.say(slog.LevelWarn, "content did not close", slog.String(telemetry.KeyID, id.String()), slog.Any(telemetry.KeyError, err))
}

func (q *Queue) sayNotWritten(id envelope.ID, try int, err error, delivered bool) {
	message := "deferral can't be written"
	if delivered {
		message = "delivery can't be written yet"
	}
	q.say(slog.LevelError, message, slog.String(telemetry.KeyID, id.String()), slog.Int(telemetry.KeyAttempt, try),
		slog.Any(telemetry.KeyError, err))
}

func (q *Queue) sayWrittenAtLast(id envelope.ID, try int) {
	q.say(slog.LevelInfo, "delivery written at last", slog.String(telemetry.KeyID, id.String()), slog.Int(telemetry.KeyAttempt, try))
}

func (q *Queue) sayOutcomeLost(id envelope.ID) {
	q.say(slog.LevelError, "delivered, not written, and stopping: will be delivered again", slog.String(telemetry.KeyID, id.String()))
}

func (q *Queue) sayNotReported(id envelope.ID, try int, err error) {
	q.say(slog.LevelError, "report can't be written", slog.String(telemetry.KeyID, id.String()), slog.Int(telemetry.KeyAttempt, try), slog.Any(telemetry.KeyError, err))
}

func (q *Queue) sayPanic(id envelope.ID, hop string, p any) {
	q.say(slog.LevelError, "recovered panic", slog.String(telemetry.KeyID, id.String()), slog.String(telemetry.KeyNextHop, hop),
		slog.String(telemetry.KeyPanic, fmt.Sprint(p)), slog.String(telemetry.KeyStack, string(debug.Stack())))
}

// word is the cause's own word, "" for none.
func word(c cause.Cause) string {
	if c == cause.None {
		return ""
	}
	return c.String()
}

// oneLine is a reply in at most maxWords octets.
func oneLine(r smtp.Reply) string {
	if r.IsZero() {
		return ""
	}
	s := r.String()
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "")
	}
	return s
}
