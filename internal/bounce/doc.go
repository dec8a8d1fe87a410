// Package bounce decides who is told that a message ended, makes the report,
// and commits it in one atomic batch with the changes that it reports.
//
// # Promises
//
//   - A report goes only for mail that a submission user or a trusted network
//     gave us (HOUSE.md "the walk": the backscatter rule, until authentication
//     of inbound mail exists), never to a null reverse-path, never about a
//     report, never against NOTIFY.
//   - Recipients of one message that end together share one report.
//   - A recipient is Bounced if and only if its report is in the spool. All
//     others that gave up are DSNSuppressed.
//   - Reports are bounded in size (package dsn) and in number: per
//     reverse-path and in all, in each hour. Above the bound recipients end as
//     DSNSuppressed, counted as "rate".
//
// # Never
//
// It never delivers, and never reads an address out of content.
//
// # Who is told
//
//	recipient ends as   kind                 reverse-path  NOTIFY                 then
//	Bounced             Submitted, Trusted   not null      unset, or has FAILURE  report "failed", Bounced
//	Bounced             Submitted, Trusted   not null      NEVER, or no FAILURE   DSNSuppressed
//	Bounced             Submitted, Trusted   null          any                    DSNSuppressed
//	Bounced             Inbound, Report      any           any                    DSNSuppressed
//	Delivered, relayed  Submitted, Trusted   not null      has SUCCESS            report "relayed", Delivered
//	Delivered, relayed  any other            any           any                    Delivered
//
// # A crash
//
//	at                     found after a restart
//	bounce.before-commit   recipients Queued: they are tried, and reported, again
//	bounce.after-commit    recipients ended, report live in the spool: the queue's scan finds it
//
// # Failures
//
//	returned         the spool could not commit: nothing has changed, the caller tries again
//	logged, counted  an original that can't be read (the report goes without it), reports above the bound
package bounce
