package relay

import (
	"errors"
	"syscall"
	"time"

	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/dns"
	"github.com/postern-mail/postern/internal/envelope"
	"github.com/postern-mail/postern/internal/smtp"
	"github.com/postern-mail/postern/internal/smtpclient"
)

// naming is what finding a host can come to.
type naming uint8

const (
	namingFine naming = iota
	noSuchName
	noAddress
	nullMX
	couldNotAsk
	badAnswer
	loops
	noRoute
)

// trouble is everything that a decision depends on, and nothing else. At most
// one of naming, kind and code says what happened; a zero value is a defect.
type trouble struct {
	naming naming
	// doubtful: the name was good lately, or it is our own configuration that
	// names it, so that a certain "no" is not believed.
	doubtful bool

	phase     smtpclient.Phase
	kind      smtpclient.Kind // an *smtpclient.Error
	errno     syscall.Errno   // kind is Unreachable or Closed
	timeout   bool
	afterData bool
	short     bool // kind is Local: our copy is shorter than it should be

	code     int // a reply, with kind 0 or Refused
	enhanced smtp.EnhancedCode
}

// decision is what is done about it.
type decision struct {
	verdict  envelope.Advice
	cause    cause.Cause
	nextHost bool // another host of the next hop may do better
	siteDown bool
}

// Short forms for the table below.
func deferred(c cause.Cause) decision { return decision{verdict: envelope.AdviceDefer, cause: c} }
func failed(c cause.Cause) decision   { return decision{verdict: envelope.AdviceFail, cause: c} }

func (d decision) elsewhere() decision { d.nextHost = true; return d }
func (d decision) down() decision      { d.siteDown = true; return d }

// decide is the one table: what happened where, to what becomes of it. It is
// pure. What is not in it is deferred.
func decide(t trouble) decision {
	switch {
	case t.naming != namingFine:
		return decideNaming(t)
	case t.kind == smtpclient.Refused, t.kind == 0 && t.code != 0:
		return decideReply(t)
	case t.kind != 0:
		return decideError(t)
	}
	return deferred(cause.LocalInternal)
}

// decideNaming: what DNS and the configuration say. A no that is certain fails
// (RFC 5321 section 5.1, RFC 7505 section 4), any other waits.
func decideNaming(t trouble) decision {
	d := map[naming]decision{
		noSuchName:  failed(cause.DNSNoSuchName),
		noAddress:   failed(cause.DNSNoAddress),
		badAnswer:   failed(cause.DNSBadAnswer),
		nullMX:      failed(cause.DNSNullMX),
		couldNotAsk: deferred(cause.DNSCouldNotAsk).down(),
		loops:       deferred(cause.RouteLoop).down(),
		noRoute:     deferred(cause.NoRoute).down(),
	}[t.naming]
	if t.doubtful && d.verdict == envelope.AdviceFail {
		return deferred(d.cause).down()
	}
	return d
}

// decideError: the dialogue did not come to its end.
func decideError(t trouble) decision {
	if t.afterData {
		// The message may be there: another host would be a second copy. A peer
		// that is silent would collect one of every message, so it is a site's
		// trouble; one that closes may not like this one.
		d := deferred(cause.LostAfterData)
		d.siteDown = t.timeout
		return d
	}
	switch t.kind {
	case smtpclient.Unreachable:
		return decideConnect(t)
	case smtpclient.Timeout:
		return deferred(cause.PeerTimeout).elsewhere().down()
	case smtpclient.Slow:
		return deferred(cause.PeerSlow).down()
	case smtpclient.Closed:
		d := deferred(cause.PeerClosed).elsewhere()
		d.siteDown = t.phase < smtpclient.Rcpt // later it may be this message
		return d
	case smtpclient.Protocol:
		return deferred(cause.PeerProtocol).elsewhere().down()
	case smtpclient.TLSFailed:
		return deferred(cause.TLSHandshake).elsewhere().down()
	case smtpclient.TLSMissing:
		return deferred(cause.TLSRequired).elsewhere().down()
	case smtpclient.TLSCertificate:
		return deferred(cause.TLSCertificate).elsewhere().down()
	case smtpclient.Need8BitMIME:
		return failed(cause.Need8BitMIME).elsewhere()
	case smtpclient.NeedSMTPUTF8:
		return failed(cause.NeedSMTPUTF8).elsewhere()
	case smtpclient.TooLarge:
		return failed(cause.TooLargeForPeer).elsewhere()
	case smtpclient.Cancelled:
		return deferred(cause.LocalShutdown)
	case smtpclient.Local:
		if t.short {
			return deferred(cause.LocalDamage)
		}
		return deferred(cause.LocalIO)
	}
	return deferred(cause.LocalInternal)
}

// decideConnect: no connection came to be.
func decideConnect(t trouble) decision {
	c := cause.ConnectUnreachable
	switch t.errno {
	case syscall.ECONNREFUSED:
		c = cause.ConnectRefused
	case syscall.ECONNRESET:
		c = cause.ConnectReset
	case syscall.ETIMEDOUT:
		c = cause.ConnectTimeout
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE:
		return deferred(cause.LocalLimit) // ours: no other host would do better
	}
	if t.timeout {
		c = cause.ConnectTimeout
	}
	return deferred(c).elsewhere().down()
}

// decideReply: the peer said it.
func decideReply(t trouble) decision {
	switch {
	case t.code == 421:
		// RFC 5321 section 3.8: the service is going away, whatever was asked.
		d := deferred(cause.PeerShutdown).down()
		d.nextHost = t.phase != smtpclient.EndOfData
		return d
	case t.phase <= smtpclient.StartTLS:
		return decideOpening(t)
	case t.code/100 == 2 && t.phase == smtpclient.EndOfData:
		return decision{verdict: envelope.AdviceDelivered}
	case t.code/100 == 4:
		return deferred(cause4(t.phase))
	case t.code/100 != 5, t.code == 503:
		// 503: one of us has lost count, and it may be us.
		return deferred(cause.PeerProtocol)
	case tooLarge(t):
		return failed(cause.TooLargeForPeer)
	case t.code == 552 && t.phase == smtpclient.Rcpt:
		// RFC 5321 section 4.5.3.1.10: to be treated as 452, too many recipients.
		return deferred(cause.PeerRcpt4xx)
	}
	return failed(cause5(t.phase))
}

// tooLarge: 5.3.4 and 5.2.3 say so (RFC 3463), and 552 to MAIL does (RFC 1870
// section 6.1).
func tooLarge(t trouble) bool {
	e := t.enhanced
	if e.Class == 5 && (e.Subject == 3 && e.Detail == 4 || e.Subject == 2 && e.Detail == 3) {
		return true
	}
	return t.code == 552 && t.phase == smtpclient.Mail && e.IsZero()
}

// decideOpening: refused before MAIL. It is about us and not about the
// message, so another host is asked, and none of it is final but 521: the host
// takes no mail at all (RFC 7504 section 3).
//
// Departs from RFC 5321 section 4.2.1 for the other 5yz: reputation lists and
// firewalls say 554 to a sender that they will like again in an hour.
func decideOpening(t trouble) decision {
	switch {
	case t.code == 521:
		return failed(cause.PeerGreeting5xx).elsewhere()
	case t.phase == smtpclient.StartTLS:
		return deferred(cause.TLSRequired).elsewhere().down()
	case t.phase == smtpclient.Hello:
		return deferred(cause.PeerHello).elsewhere().down()
	case t.code/100 == 4:
		return deferred(cause.PeerGreeting4xx).elsewhere().down()
	case t.code/100 == 5:
		return deferred(cause.PeerGreeting5xx).elsewhere().down()
	}
	return deferred(cause.PeerProtocol).elsewhere().down()
}

func cause4(p smtpclient.Phase) cause.Cause {
	switch p {
	case smtpclient.Mail, smtpclient.Reset:
		return cause.PeerMail4xx
	case smtpclient.Rcpt:
		return cause.PeerRcpt4xx
	case smtpclient.Data:
		return cause.PeerData4xx
	}
	return cause.PeerContent4xx
}

func cause5(p smtpclient.Phase) cause.Cause {
	switch p {
	case smtpclient.Mail, smtpclient.Reset:
		return cause.PeerMail5xx
	case smtpclient.Rcpt:
		return cause.PeerRcpt5xx
	case smtpclient.Data:
		return cause.PeerData5xx
	}
	return cause.PeerContent5xx
}

// fromReply is the trouble that a reply is.
func fromReply(p smtpclient.Phase, r smtp.Reply) trouble {
	return trouble{phase: p, code: r.Code, enhanced: r.Enhanced}
}

// fromError is the trouble that an error of smtpclient is.
func fromError(err error) trouble {
	var e *smtpclient.Error
	if !errors.As(err, &e) {
		return trouble{}
	}
	t := trouble{phase: e.Phase, kind: e.Kind, timeout: e.Timeout, afterData: e.AfterData}
	if e.Kind == smtpclient.Refused {
		t.code, t.enhanced = e.Reply.Code, e.Reply.Enhanced
	}
	errors.As(e.Err, &t.errno)
	t.short = errors.Is(e.Err, smtpclient.ErrShortContent)
	return t
}

// fromDNS is the trouble that a resolver's error is. certain is false where a
// "no" is about our own configuration and not about the recipient's domain.
func fromDNS(err error, certain bool, now time.Time, doubtFor time.Duration) trouble {
	t := trouble{naming: couldNotAsk, doubtful: !certain}
	switch dns.KindOf(err) {
	case dns.NoSuchName:
		t.naming = noSuchName
	case dns.NoSuchType:
		t.naming = noAddress
	}
	var e *dns.Error
	if errors.As(err, &e) && !e.LastGood.IsZero() && now.Sub(e.LastGood) < doubtFor {
		t.doubtful = true
	}
	return t
}
