package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpserver"
	"github.com/postern-mail/postern/internal/telemetry"
)

// behaviour is what the sample server does with recipients in one domain, so
// that each outcome can be seen.
type behaviour struct {
	rcpt    smtp.Reply // said to RCPT
	content smtp.Reply // said to end-of-data
	times   int        // how often for one sender and recipient; 0: always
}

// behaviours are the domains of the .test zone that do not just take mail.
func behaviours() map[string]behaviour {
	words := func(code int, e smtp.EnhancedCode, text string) smtp.Reply {
		return smtp.Reply{Code: code, Enhanced: e, Text: []string{text}}
	}
	return map[string]behaviour{
		"refuse.test": {rcpt: words(550, smtp.EnhancedCode{Class: 5, Subject: 1, Detail: 1}, "Nobody lives here")},
		"reject.test": {content: words(554, smtp.EnhancedCode{Class: 5, Subject: 7, Detail: 1}, "We do not like this message")},
		"slow.test":   {rcpt: words(451, smtp.EnhancedCode{Class: 4, Subject: 7, Detail: 1}, "Come back in a moment"), times: 2},
		"later.test":  {rcpt: words(451, smtp.EnhancedCode{Class: 4, Subject: 2, Detail: 1}, "Not today")},
		"full.test":   {content: words(452, smtp.EnhancedCode{Class: 4, Subject: 2, Detail: 2}, "Mailbox full")},
	}
}

// maxPatience bounds the memory of who was asked to come back. Chosen.
const maxPatience = 10_000

// hop is the sample customer's server: it takes what it is given and keeps it
// in the inbox. It implements smtpserver.Handler.
type hop struct {
	inbox  *Inbox
	clock  telemetry.Clock
	log    *slog.Logger
	domain map[string]behaviour

	mu    sync.Mutex
	asked map[string]int // by sender and recipient, how often they were asked to come back
}

func newServer(inbox *Inbox, tlsConfig *tls.Config, clock telemetry.Clock, log *slog.Logger) (*smtpserver.Server, error) {
	h := &hop{inbox: inbox, clock: clock, log: log, domain: behaviours(), asked: map[string]int{}}
	return smtpserver.New(smtpserver.Config{
		Name: "demo", Hostname: "mx.test", TLS: tlsConfig, Logger: log,
		// The node is its only client, and refusing is what it is for.
		MaxMessages: -1, MaxErrors: -1, MaxRefusedRecipients: -1, MaxVerbs: -1,
	}, h)
}

// Connect takes every client: the listener is on loopback.
func (h *hop) Connect(_ context.Context, conn *smtpserver.Conn) (smtpserver.Session, smtp.Reply) {
	return &visit{hop: h, conn: conn}, smtp.Reply{}
}

// visit is one session with the sample server.
type visit struct {
	hop     *hop
	conn    *smtpserver.Conn
	reverse smtp.Path
	forward []string
	verdict smtp.Reply // to be said at end-of-data instead of 250
}

func (v *visit) Hello(context.Context) smtp.Reply { return smtp.Reply{} }
func (v *visit) Close()                           {}

// Auth is never called: the listener does not offer it.
func (v *visit) Auth(context.Context, string, string, string, string) smtp.Reply {
	return smtp.AuthFailed()
}

func (v *visit) Mail(_ context.Context, from smtp.Path, _ smtp.MailParams) smtp.Reply {
	v.reverse = from
	return smtp.Reply{}
}

func (v *visit) Rcpt(_ context.Context, to smtp.Path, _ smtp.RcptParams) smtp.Reply {
	b := v.hop.domain[strings.ToLower(to.Domain)]
	if !b.rcpt.IsZero() && v.hop.again(v.reverse.Key()+" "+to.Key(), b.times) {
		return b.rcpt
	}
	if !b.content.IsZero() {
		v.verdict = b.content
	}
	v.forward = append(v.forward, to.String())
	return smtp.Reply{}
}

// again reports whether who has still to be asked to come back.
func (h *hop) again(who string, times int) bool {
	if times == 0 {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked[who] >= times {
		delete(h.asked, who)
		return false
	}
	if len(h.asked) >= maxPatience {
		clear(h.asked)
	}
	h.asked[who]++
	return true
}

func (v *visit) Reset() { v.reverse, v.forward, v.verdict = smtp.Path{}, nil, smtp.Reply{} }

func (v *visit) Content(context.Context) (smtpserver.Content, smtp.Reply) {
	message, err := v.hop.inbox.begin()
	if err != nil {
		return nil, v.trouble(err)
	}
	reverse := ""
	if !v.reverse.IsNull() {
		reverse = v.reverse.String()
	}
	fields := appendDelivery(nil, Message{Reverse: reverse, Forward: v.forward, Time: v.hop.clock(), TLS: v.conn.TLSText})
	if _, err := message.Write(fields); err != nil {
		return nil, v.trouble(errors.Join(err, message.drop()))
	}
	return &delivery{visit: v, message: message}, smtp.Reply{}
}

// trouble logs what the inbox said and answers 451.
func (v *visit) trouble(err error) smtp.Reply {
	v.hop.log.Warn("demo inbox in trouble", telemetry.KeyError, err)
	return smtp.LocalError()
}

// delivery is one message on its way into the inbox.
type delivery struct {
	visit   *visit
	message *incoming
}

func (d *delivery) Write(p []byte) (int, error) { return d.message.Write(p) }

func (d *delivery) Commit(context.Context) smtp.Reply {
	if verdict := d.visit.verdict; !verdict.IsZero() {
		d.Abort()
		return verdict
	}
	if err := d.message.keep(); err != nil {
		return d.visit.trouble(err)
	}
	return smtp.Reply{}
}

func (d *delivery) Abort() {
	if err := d.message.drop(); err != nil {
		d.visit.hop.log.Warn("demo inbox in trouble", telemetry.KeyError, err)
	}
}
