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
)

// One function for each event that the queue logs. None is called with the
// mutex held.

// maxWords bounds the peer's words in memory and on one line of the log.
const maxWords = 200

func (q *Queue) say(level slog.Level, message string, attrs ...slog.Attr) {
	q.log.LogAttrs(context.Background(), level, message, attrs...)
}

// sayAttempt is the mail log's line for one attempt.
func (q *Queue) sayAttempt(hop string, j *job, began time.Time, outcomes []envelope.Outcome) {
	if !q.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	var n [envelope.AdviceFail + 1]int
	worst := &outcomes[0]
	for i := range outcomes {
		n[min(outcomes[i].Verdict, envelope.AdviceFail)]++
		if outcomes[i].Verdict > worst.Verdict {
			worst = &outcomes[i]
		}
	}
	at := &worst.Attempt
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("id", j.id.String()), slog.String("next_hop", hop), slog.String("host", at.Host),
		slog.Int("delivered", n[envelope.AdviceDelivered]), slog.Int("deferred", n[envelope.AdviceDefer]),
		slog.Int("failed", n[envelope.AdviceFail]), slog.Int("attempt", j.attempts+1),
		slog.Int64("duration_ms", q.cfg.Clock().Sub(began).Milliseconds()), slog.Int("code", at.Reply.Code))
	if worst.Verdict != envelope.AdviceDelivered {
		attrs = append(attrs, slog.String("cause", word(at.Cause)), slog.String("reply", oneLine(at.Reply)),
			slog.String("detail", at.Detail))
	}
	q.say(slog.LevelInfo, "attempted", attrs...)
}

// sayTurn tells that a next hop went down or came up.
func (q *Queue) sayTurn(hop string, turned site, res *result) {
	switch turned {
	case siteUp:
		q.say(slog.LevelInfo, "next hop is up", slog.String("next_hop", hop))
	case siteDown:
		q.say(slog.LevelWarn, "next hop is down", slog.String("next_hop", hop),
			slog.String("cause", word(res.cause)), slog.String("reply", res.reply))
	}
}

func (q *Queue) sayLoaded(n int, took time.Duration) {
	q.say(slog.LevelInfo, "queue read back", slog.Int("items", n), slog.Int64("duration_ms", took.Milliseconds()))
}

func (q *Queue) sayRepaired(n int) {
	q.say(slog.LevelWarn, "scan found mail that the queue was not told of", slog.Int("items", n))
}

func (q *Queue) sayClock(jump time.Duration, stopped bool) {
	if stopped {
		q.say(slog.LevelError, "wall clock jumped, nothing expires until it is confirmed", slog.Duration("jump", jump))
		return
	}
	q.say(slog.LevelInfo, "wall clock is believed again")
}

func (q *Queue) sayDamaged(id envelope.ID, err error) {
	q.say(slog.LevelError, "message is damaged and held", slog.String("id", id.String()), slog.Any("error", err))
}

func (q *Queue) sayUnreadable(id envelope.ID, err error) {
	q.say(slog.LevelError, "message can't be read now", slog.String("id", id.String()), slog.Any("error", err))
}

func (q *Queue) sayClose(id envelope.ID, err error) {
	q.say(slog.LevelWarn, "content did not close", slog.String("id", id.String()), slog.Any("error", err))
}

func (q *Queue) sayNotWritten(id envelope.ID, try int, err error, delivered bool) {
	q.say(slog.LevelError, "outcome can't be written", slog.String("id", id.String()), slog.Int("try", try),
		slog.Bool("delivered", delivered), slog.Any("error", err))
}

func (q *Queue) sayWrittenAtLast(id envelope.ID, try int) {
	q.say(slog.LevelInfo, "outcome written at last", slog.String("id", id.String()), slog.Int("try", try))
}

func (q *Queue) sayOutcomeLost(id envelope.ID) {
	q.say(slog.LevelError, "delivered, not written, and stopping: will be delivered again", slog.String("id", id.String()))
}

func (q *Queue) sayNotReported(id envelope.ID, try int, err error) {
	q.say(slog.LevelError, "report can't be written", slog.String("id", id.String()), slog.Int("try", try), slog.Any("error", err))
}

func (q *Queue) sayPanic(id envelope.ID, hop string, p any) {
	q.say(slog.LevelError, "recovered panic", slog.String("id", id.String()), slog.String("next_hop", hop),
		slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
}

// word is the cause's own word.
func word(c cause.Cause) string {
	if c == cause.None {
		return ""
	}
	if s, ok := any(c).(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprintf("cause-%d", uint8(c))
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
