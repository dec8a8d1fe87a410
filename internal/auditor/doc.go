// Package auditor checks a copied data directory of the spool without the
// spool: it was written from the text in internal/spool/doc.go ("Format 1,
// octet for octet") and shares no code with that package. Two readers of one
// text that agree are worth more than one that agrees with itself.
//
// It promises:
//
//   - It only reads: every file is opened O_RDONLY, nothing is locked or made.
//   - Whatever the directory holds, it ends with a Report; garbage is named,
//     and never believed for more than its checksum is worth.
//   - It names each message that is live, each recipient that was accepted and
//     is neither terminal nor live, each damaged batch and record, each draft
//     that is missing, damaged or an orphan, and each difference between the
//     main log, the checkpoint and the event log.
//   - It recounts the ledger per tenant: sources = terminal + held + lost.
//     What is missing from that equation is the tenant's Missing.
//
// Memory: files are read in windows of 256 KiB. What is kept is one entry of
// some 300 octets for each message of the main log and for each one that the
// event log holds to be live, and the named findings (Options.Limit).
//
// How it works, in passes over each incarnation's directory:
//
//	1 edges        batch headers and trailers of the main log: what was synced, what was abandoned
//	2 checkpoint   the newest that is whole; its entries and its ledger
//	3 main log     every record that counts, in order; at the checkpoint's batch the two are compared
//	4 event log    every accept and change, over all directories, compared with pass 3
//	5 drafts       the files that live messages name
//	6 names        the accept records of live messages once more, for their addresses
//
// A directory that a running node writes to must be copied first, or findings
// about its tail mean nothing.
//
// Failures. Audit returns an error only when the directory cannot be listed or
// the context ends. A file that cannot be read is a finding.
package auditor
