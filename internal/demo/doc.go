// Package demo is what `postern serve --demo` adds to a node, so that a
// newcomer needs nothing else: a sample tenant (example.test with alice, bob
// and carol), a password for alice, the customer's mail server, and the .test
// zone that leads to it.
//
// # Promises
//
//   - Everything it makes lies in one directory, with mode 0600, and is made at
//     the first start only; what the user edits stays edited.
//   - No mail leaves the machine: the .test zone leads to loopback only. What
//     becomes of other names is the composition root's choice.
//   - The sample server says 250 after the message and its name are synced.
//   - The inbox is bounded in messages and octets; the oldest are removed.
//
// # Never
//
// It is no part of custody, and no part of a node without --demo.
//
// # Who answers what
//
//	anyone@<any>.test      taken, shown by `postern demo inbox`
//	anyone@refuse.test     550 5.1.1 at RCPT: bounced at once
//	anyone@reject.test     554 5.7.1 at end-of-data: bounced at once
//	anyone@slow.test       451 4.7.1 at the first two attempts, then taken (greylisting)
//	anyone@later.test      451 4.2.1 at every attempt
//	anyone@full.test       452 4.2.2 at end-of-data, at every attempt
//	anyone@nomail.test     null MX (RFC 7505): bounced at once
//	anyone@missing.test    no such name: bounced
//	anyone@noaddress.test  a mail exchanger without an address
//	anyone@down.test       nobody listens there: deferred
//	anyone@broken.test     SERVFAIL: deferred
//
// # Files
//
//	alice.password      her password on submission
//	tenants.yaml        the sample tenant
//	inbox/N.eml         one message, with Return-Path, Delivered-To and
//	                    X-Demo-Delivery in front
//	inbox/incoming-N    one that is being written; removed at the next start
//
// # Failures
//
// Open fails when its files can't be made or read. Trouble with the inbox later
// is logged and answered with 451, so that the queue tries again.
package demo
