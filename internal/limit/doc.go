// Package limit is every bound of the house: octets in memory, connections,
// what one network or one next hop may have at once. Each bound has a name, a
// maximum, what is in use now and how often it refused, and all of them are
// exported as metrics.
//
// It promises:
//
//   - A bound never waits and never queues. TryTake answers at once; who is
//     refused says so to its peer (421, 452) or tries later.
//   - InUse never exceeds Max, also for an instant, except after SetMax
//     lowered it: then nothing is taken until enough was given back.
//   - Refusal leaves nothing taken.
//   - A key of a keyed bound takes memory only while something is held under
//     it, so such a bound is itself bounded by the total above it.
//
// It never decides what is said to a peer, and never looks at the clock.
//
// Order. Bounds are taken from the general to the particular, and given back
// in the opposite order when one refuses:
//
//	1 connections, all          4 octets in memory
//	2 connections, per network  5 deliveries, all
//	3 transactions              6 deliveries, per next hop
//
// Because nothing here waits, a wrong order cannot deadlock; it can only refuse
// one who would have fitted. The locks inside are leaves: one shard of one
// Keyed at a time, held for a map access, nothing called meanwhile.
//
// Failures. A Give without a TryTake is a defect of the caller: use stays at
// 0, and it is counted (Misgiven, postern_limit_misgiven_total). Two bounds of
// one name are refused by Register. A nil *Octets, *Count, *Keyed or *Networks
// bounds nothing; that is for tests and tools.
package limit
