// Package dns is the only way from Postern to a name server.
//
// It promises:
//   - an error says which of three things is true: the name does not exist
//     (NoSuchName), it exists without records of that type (NoSuchType), or
//     nothing is known (CouldNotAsk). They are never mixed: only the first two
//     may make mail bounce, and CouldNotAsk never does;
//   - an answer says whether it is authentic (DNSSEC-validated by an upstream
//     that we trust to say so) and whether it is stale (RFC 8767);
//   - every question ends within Config.Total, whatever the name servers do,
//     and no more than MaxOutstanding questions are open at a time.
//
// It never does recursion, never validates DNSSEC itself, and never decides
// what becomes of mail.
//
// Resolvers:
//
//	Client  a stub: asks configured upstreams over UDP, then TCP; small cache
//	Zone    answers from RFC 1035 master text: tests and the demo's .test zone
//	Split   a Zone for its own origins, another Resolver for the rest
//
// How one question of the Client walks:
//
//	state      what is there                        left when
//	cached     a fresh answer or a fresh refusal    its TTL is over
//	joined     another caller's open question       that one ends
//	asking     one goroutine, one socket a try      an upstream answers, or Total is over
//	stale      an old answer, no upstream answers   StaleFor after it was good
//
// What is said on an upstream's misbehaviour:
//
//	silence, refused socket                next upstream, then CouldNotAsk
//	SERVFAIL, REFUSED, NOTIMP, lame        next upstream, then CouldNotAsk
//	FORMERR to a question with EDNS        the same once without EDNS
//	TC bit                                 the same question over TCP
//	wrong ID, question or source           dropped, waiting goes on
//	right name in the wrong case (0x20)    the same question over TCP
//	over 8 dropped packets in a try        the same question over TCP
//	NXDOMAIN behind a CNAME                NoSuchName (RFC 6604 section 3)
//
// Nothing here is fatal and nothing is logged: all is returned, and counted in
// Stats.
package dns
