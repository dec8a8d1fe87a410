// Package edge is the door: it decides who may speak, for whom mail is taken
// in, and it takes custody. It implements the seams of package smtpserver
// (Handler, Session, Content); the protocol itself is not its business.
//
// # Promises
//
//   - A 250 to end-of-data is said only after spool.Commit returned nil. From
//     then on nothing of the message is tied to the session.
//   - A transaction is judged by one tenant.Snapshot, the one that was current
//     at MAIL, whatever is swapped in meanwhile.
//   - Own doubt is 4yz: trouble.go is the only place where an error becomes a
//     reply, and it knows no 5yz.
//   - No tenant sees another's recipients: the envelope is split per tenant, and
//     the Received field names a recipient only when there is exactly one.
//   - A panic in here costs one transaction, which hears 451.
//
// # What a transaction goes through
//
//	step        refused with
//	connect     421 4.7.0 too many sessions (in all, or from the client's network)
//	MAIL        530 5.7.0 submission without AUTH
//	            553 5.7.1 submission: not one of the user's own reverse-paths
//	RCPT        550 5.1.1 our domain, no such user
//	            550 5.7.1 not our domain, and the client may not relay
//	            452 4.5.3 a null reverse-path on submission, second recipient
//	DATA, BDAT  452 4.3.1 no room on the disk for the declared size
//	            452 4.3.2 the octets that may lie in memory are taken
//	end-of-data 554 5.4.6 more than Config.MaxHops Received fields
//	            452, 451 as trouble.go says
//
// Who may relay: an authenticated user (envelope.Submitted), and a client in a
// trusted network of the node or of a tenant (envelope.Trusted). Loopback is in
// no trusted network unless the configuration puts it there. Everyone else
// (envelope.Inbound) may write to users of our domains only. postmaster and
// abuse of each of our domains exist always (RFC 5321 section 4.5.1, RFC 2142).
//
// # The split
//
// A recipient in one of our domains belongs to that domain's tenant. A
// recipient elsewhere belongs to the tenant of the user, or of the trusted
// network, that sends to it. Each tenant's recipients make one envelope with
// an ID of its own; the content is written once. The Received field and the
// reply to end-of-data bear the first envelope's ID; the log line names all.
//
// # Fail points
//
// edge.connected, edge.mail, edge.rcpt, edge.data.begin, edge.data.end,
// edge.before-250: the lines between which custody passes from the client to us.
//
// # Failures
//
// Nothing here is fatal. What the client caused is logged at info and answered;
// what our disk or our bounds caused is logged at warn and answered with 4yz;
// a recovered panic is logged at error.
package edge
