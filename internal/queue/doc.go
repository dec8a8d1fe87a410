// Package queue decides which message is tried when, against which next hop,
// over which connection, and what becomes of it. It holds no mail: a message
// is in the spool, and here is a line of 64 octets that says when it is due.
//
// # Words
//
// An item is one message's part for one next hop: all recipients that share
// it go in one transaction (at most 100). A lane is a goroutine with at most
// one connection to one next hop. Both are bounded.
//
// # Promises
//
//   - Offer never waits. An Offer that is lost is found by a repair scan.
//   - One attempt at a time for a message and next hop, under the store's claim.
//   - What the next hop took is not offered to it again while the process
//     lives, also when the outcome can't be written: the lane then stands
//     still and tries to write until it succeeds (postern_queue_unwritten).
//   - No goroutine, timer or envelope per waiting message: about 80 octets.
//   - Next hops share scarce lanes in turn; one with much mail yields.
//   - Next hops that are not known to answer (new ones, and those in trouble)
//     have at most half of all lanes together, however many they are. What is
//     known is in memory: after a start all are new until they answer.
//   - A next hop in trouble is probed with one message at a time, and the
//     rest of its mail is not touched meanwhile.
//   - Nothing expires while the wall clock is in doubt.
//
// # Never
//
// The queue never opens content for itself, never decides whether an error is
// permanent (the transport advises), and never ends a recipient by itself but
// for expiry.
//
// # Phases of an item
//
//	phase    where it is                  moved on by                      to
//	waiting  heap, by due                 clock goroutine when due         ready
//	ready    its next hop's list          a lane that is free              active
//	ready    the same, next hop is down   clock goroutine (probe)          active
//	ready    the same, time is over       sweep                            active (no attempt is made)
//	active   a lane                       attempt: all recipients ended    forgotten
//	                                      attempt: some deferred           waiting
//	                                      attempt: damaged, panics         held
//	held     the table only               an operator, by the spool        -
//
// Rerouted moves items that are waiting or ready to their recipients' new next
// hop; active ones follow at their next attempt.
//
// # A crash
//
//	at                        found after a restart          effect
//	queue.claimed             recipients Queued              tried, as if nothing had been
//	in the transaction        recipients Queued              tried; a second copy if the peer had taken the first
//	queue.before-change       recipients Queued              tried: a second copy of what the peer took
//	queue.after-change        as changed                     nothing is tried twice
//
// A claim lives in memory only and ends with the process.
//
// # Outcomes
//
//	advice, circumstance                      change                         by
//	delivered                                 Delivered                      Store.Apply
//	delivered, "relayed" report is due        Delivered + DSN                Config.Report
//	fail                                      Bounced or DSNSuppressed       Config.Report
//	defer, younger than Expiry                Queued, NextAttempt            Store.Apply
//	defer, older                              Bounced or DSNSuppressed       Config.Report, cause Expired
//	defer, because we stop or Halt            none                           -
//	452 to some recipients, others taken      tried again at once            -
//
// # Failures
//
//	returned           New: what is missing in Config. Stop: attempts that did not end when cut
//	logged, counted    changes that can't be written, reports that can't, panics, damage, lost nudges, clock jumps
//	fatal              nothing
//
// # Locks
//
// Queue.mu covers the table and all scheduling; it is held for microseconds
// and never across a call to the store, the transport, Route, Report or the
// log. claims.mu is taken before the store's own lock and never with Queue.mu.
//
// # Time
//
// What is due is kept in monotonic time. NextAttempt in the store is wall
// time; read back, it is bounded by the longest backoff, so that a clock set
// back delays mail by hours at most.
package queue
