package dsn

import (
	"github.com/postern-mail/postern/internal/cause"
	"github.com/postern-mail/postern/internal/smtp"
)

// explanation is what a cause means to the person who wrote the message.
type explanation struct {
	what   string            // one or two sentences
	do     string            // what the reader can do
	status smtp.EnhancedCode // subject and detail; zero: the peer's words alone say it
}

// What a reader can do, where several causes share it.
const (
	doLater    = "Please send the message again later. If it keeps failing, tell the recipient by other means."
	doAddress  = "Check the address for typing errors. If it is right, ask the recipient by other means."
	doPostman  = "Please forward this report to your own postmaster."
	doTheirs   = "The recipient's mail administrator can find out why, with this report."
	doShorten  = "Make the message smaller, or share large files in another way."
	doContents = "Read the other server's words below: they say what it does not accept."
)

func code(subject, detail uint16) smtp.EnhancedCode {
	return smtp.EnhancedCode{Subject: subject, Detail: detail}
}

// explain returns the explanation of a cause. Every cause has one.
func explain(c cause.Cause) explanation {
	switch {
	case c >= cause.DNSNoSuchName && c <= cause.NoRoute:
		return explainName(c)
	case c >= cause.ConnectRefused && c <= cause.LostAfterData:
		return explainConnection(c)
	case c >= cause.PeerGreeting4xx && c <= cause.PeerShutdown:
		return explainReply(c)
	}
	return explainOther(c)
}

func explainName(c cause.Cause) explanation {
	switch c {
	case cause.DNSNoSuchName:
		return explanation{"The domain of this address does not exist.", doAddress, code(1, 2)}
	case cause.DNSNoAddress:
		return explanation{"The domain of this address exists, but names no server that takes mail.", doAddress, code(4, 4)}
	case cause.DNSNullMX: // RFC 7505 section 4.2
		return explanation{"The domain of this address says that it takes no mail at all.", doAddress, code(1, 10)}
	case cause.DNSCouldNotAsk:
		return explanation{"The name servers for the domain of this address did not answer.", doLater, code(4, 3)}
	case cause.DNSBadAnswer:
		return explanation{"The name servers for the domain of this address gave an answer that can't be used to deliver mail.", doTheirs, code(4, 4)}
	case cause.RouteLoop:
		return explanation{"The message went round in a circle between mail servers.", doPostman, code(4, 6)}
	default: // NoRoute
		return explanation{"No server is known to which mail for this address could be passed on.", doPostman, code(4, 4)}
	}
}

func explainConnection(c cause.Cause) explanation {
	switch c {
	case cause.ConnectRefused:
		return explanation{"The recipient's mail server refused every connection.", doLater, code(4, 1)}
	case cause.ConnectTimeout:
		return explanation{"The recipient's mail server did not answer.", doLater, code(4, 1)}
	case cause.ConnectUnreachable:
		return explanation{"The recipient's mail server could not be reached over the network.", doLater, code(4, 1)}
	case cause.ConnectReset, cause.PeerClosed:
		return explanation{"The recipient's mail server broke off the connection.", doLater, code(4, 2)}
	case cause.TLSHandshake:
		return explanation{"A secure connection to the recipient's mail server could not be made.", doTheirs, code(7, 5)}
	case cause.TLSRequired: // X.7.10 in IANA's registry: encryption needed
		return explanation{"A secure connection is required for this recipient, and the recipient's mail server offers none.", doTheirs, code(7, 10)}
	case cause.TLSCertificate:
		return explanation{"The recipient's mail server could not prove that it is the right one: its certificate is not valid.", doTheirs, code(7, 5)}
	case cause.PeerTimeout, cause.PeerSlow:
		return explanation{"The recipient's mail server took too long to answer.", doLater, code(4, 2)}
	case cause.PeerProtocol:
		return explanation{"The recipient's mail server gave an answer that makes no sense.", doTheirs, code(5, 0)}
	default: // LostAfterData
		return explanation{
			"The connection to the recipient's mail server was lost at the very end: the message may have arrived all the same.",
			"Ask the recipient by other means before you send it again.", code(4, 2),
		}
	}
}

func explainReply(c cause.Cause) explanation {
	switch c {
	case cause.PeerGreeting4xx, cause.PeerShutdown:
		return explanation{"The recipient's mail server was not ready to take mail.", doLater, code(3, 2)}
	case cause.PeerGreeting5xx, cause.PeerHello:
		return explanation{"The recipient's mail server refuses to talk to ours.", doPostman, code(0, 0)}
	case cause.PeerAuth:
		return explanation{"The recipient's mail server did not accept our credentials.", doPostman, code(7, 0)}
	case cause.PeerMail4xx:
		return explanation{"The recipient's mail server did not accept mail from your address at this time.", doLater, code(0, 0)}
	case cause.PeerMail5xx:
		return explanation{"The recipient's mail server does not accept mail from your address.", doContents, code(0, 0)}
	case cause.PeerRcpt4xx:
		return explanation{"The recipient's mail server did not accept mail for this address at this time.", doLater, code(0, 0)}
	case cause.PeerRcpt5xx:
		return explanation{"The recipient's mail server does not accept mail for this address.", doAddress, code(0, 0)}
	case cause.PeerData4xx, cause.PeerContent4xx:
		return explanation{"The recipient's mail server did not accept the message at this time.", doLater, code(0, 0)}
	default: // PeerData5xx, PeerContent5xx
		return explanation{"The recipient's mail server refused the message.", doContents, code(0, 0)}
	}
}

func explainOther(c cause.Cause) explanation {
	switch c {
	case cause.Need8BitMIME: // RFC 6152 section 3
		return explanation{
			"The message holds 8-bit characters, and the recipient's mail server can't take those.",
			"Send it again as plain ASCII, or encoded (most mail programs can).", code(6, 3),
		}
	case cause.NeedSMTPUTF8: // RFC 6531 section 3.5
		return explanation{
			"The message uses an international address or header, and the recipient's mail server can't take those.",
			"Send it again from and to addresses of plain letters, with plain letters in names.", code(6, 7),
		}
	case cause.TooLargeForPeer:
		return explanation{"The message is larger than the recipient's mail server accepts.", doShorten, code(3, 4)}
	case cause.Expired:
		return explanation{"The message could not be delivered for so long that we gave up.", doLater, code(4, 7)}
	case cause.LocalIO, cause.LocalLimit, cause.LocalShutdown, cause.LocalInternal:
		return explanation{"Our own mail system could not deliver the message. This is our fault, not yours.", doPostman, code(3, 0)}
	case cause.LocalDamage:
		return explanation{"Our own copy of the message was damaged. This is our fault, not yours.", "Please send it again.", code(3, 0)}
	case cause.OperatorAction:
		return explanation{"An administrator of our mail system returned the message.", doPostman, code(7, 0)}
	}
	return explanation{"The message could not be delivered.", doPostman, code(0, 0)}
}
