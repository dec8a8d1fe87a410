// Package spool is the durable log in which every accepted message waits until
// each of its forward-paths has one terminal disposition.
//
// # Promises
//
//   - Commit returned nil: content, envelope and the changes given with it are
//     synced to the disk, all of them or none, and every later Open finds them.
//   - Apply returned nil: the changes are written in order and visible; they
//     are synced with the next accepted batch, at the latest FinishSyncDelay
//     later. A power cut in between means that a delivered message is delivered
//     again; it never means that one is lost.
//   - Nothing that content holds can become a record (see "Not forgeable").
//   - An ID is drawn once, across crashes too.
//   - Damage never keeps the node from starting. Recovery names each ID and,
//     where the event log still has the envelope, each recipient that is hurt.
//   - Sources = terminal + held + lost, per tenant, at all times (Ledger).
//
// # Never
//
// The spool never decides what becomes of a message, never opens a connection,
// never keeps an envelope or content in memory for a message that waits, and
// never waits for anything but its own disk.
//
// # Failures
//
//	fatal (Open fails)   the directory is locked by another process; nothing can be written at all
//	returned             ErrNoRoom (452), ErrMemory (452), ErrIO (451), ErrUnknown (451), ErrClosed, ErrGone, ErrDamaged
//	logged and named     damage (Recovery, AuditReport), an abandoned segment, events shed, a checkpoint that fell back
//
// A failed write or sync abandons the segment: those who waited for it get an
// error, changes that were already visible are written again to a new segment,
// and recovery does not count what the old one may hold beyond its last
// successful sync.
//
// # Directory
//
//	<Dir>/identity                   which incarnation this data directory is (text, one "key value" a line)
//	<Dir>/<incarnation>/lock         held (flock) by the process that uses the directory
//	<Dir>/<incarnation>/segment-N    main log, N = 8 or more decimal digits, leading zeros; numbers without gap
//	<Dir>/<incarnation>/spare-N      a segment without mail in it, prepared or waiting for use
//	<Dir>/<incarnation>/event-N      event log
//	<Dir>/<incarnation>/checkpoint-N index and ledger; the two newest are kept; *.tmp is unfinished
//	<Dir>/<incarnation>/draft-ID     content above 256 KiB (Config.InlineMax), ID as printed
//	<Dir>/<incarnation>/ballast      octets to give up when the disk is full
//	<Dir>/<incarnation>/adopted      (text) the incarnation that has taken this directory over
//	<Dir>/adopted-<incarnation>/     what is left of a directory that was taken over: its event log
//
// # Format 1, octet for octet
//
// Integers are little-endian. A block is 4,096 octets. CRC is CRC-32C
// (Castagnoli). "uvarint" and "varint" are those of encoding/binary; "str" is a
// uvarint length and that many octets. Times are nanoseconds since 1970 UTC as
// int64, 0 for none.
//
// Segment and event file. The header block stands twice, at 0 and at 4096, and
// one good copy is enough. Batches begin at 8192, each at a block boundary,
// until an offset where none begins or the file ends.
//
//	off len  header block
//	  0   8  "PSTNSEG1" main log, "PSTNEVT1" event log
//	  8   2  format version, 1
//	 10   2  least reader version, 1: a reader that is older leaves the file alone and names it
//	 12   4  0
//	 16   8  seed, drawn at random for every use of the file
//	 24   8  number of the file
//	 32  10  incarnation
//	 42   6  0
//	 48   8  limit: every ID drawn so far has a sequence below it
//	 56   8  time of writing
//	 64   8  after: the batches of this file have numbers above it
//	 72   8  0
//	 80 4012 0
//	4092  4  CRC of octets 0..4091
//
// Batch. One write. It is header, records, zero octets, directory, trailer;
// its length is a multiple of 4096 and the trailer is its last 96 octets.
//
//	off len  batch header and batch trailer (the same fields twice)
//	  0   8  "PSTNBHDR" header, "PSTNBEND" trailer
//	  8   8  seed of the file
//	 16   8  number: rises by at least 1 from batch to batch, over all segments
//	 24   8  synced: every batch that counts up to this number was synced when this one was written
//	 32   8  base: number of the last batch that counts before the first batch of this segment
//	 40   8  first: number of the first batch of this segment. Batches numbered between base and first
//	         (exclusive) were abandoned: they do not count, wherever they lie
//	 48   8  limit: every ID drawn so far has a sequence below it
//	 56   8  time of writing
//	 64   4  octets of the whole batch
//	 68   4  end of the last record, from the start of the batch
//	 72   4  number of records
//	 76   4  offset of the batch in the file
//	 80   8  event log: this file and those before it hold all events of main batches up to this number; main log: 0
//	 88   4  flags: 1 = someone waits for its sync
//	 92   4  sum. Header: over octets 0..91. Trailer: over the directory and octets 0..91
//
//	off len  directory entry, one a record in their order, directly before the trailer
//	  0   1  type
//	  1   1  flags
//	  2   2  0
//	  4   4  length of the body
//	  8  16  ID
//	 24   4  offset of the record from the start of the batch
//	 28   4  the record's sum
//
//	off len  record, at a multiple of 8 from the start of the batch; the first at 96
//	  0   1  type: 1 content, 2 accept, 3 move, 4 finish, 5 refused, 6 copy, 7 note, 8 filter, 9 lost
//	  1   1  flags: 1 = first of a group. A group is what one call gave and counts whole or not at all
//	  2   2  0
//	  4   4  length of the body
//	  8  16  ID of the message (content: of the first accept that uses it; note, filter: 0)
//	 24   4  0
//	 28   4  sum over octets 0..27 and the body
//	 32   n  body, then zero octets up to a multiple of 8
//
// Not forgeable. A sum is the CRC of: seed (8), batch number (8), offset in the
// file of the first octet summed (8), then the octets. Content is chosen by
// strangers who do not know the seed, and a record copied from elsewhere has
// another seed, number or offset. A batch is looked for only at block
// boundaries, and only a header or trailer that bears the file's seed and a
// good sum counts.
//
// A batch without records is good and common: it bears marks (synced, limit).
//
// Event log. The numbers of its batches rise by 1 through all its files; base
// and first are 0; synced counts event batches. In the newest file a bad batch
// beyond synced is a torn tail, and it and all behind it do not count: those
// events are written again from the main log, in a new file. An event may so
// stand in it twice. Its records are those of the main log, octet for octet
// (accept, move, finish), and refused, lost, note 3, filter.
//
// Bodies. Content: key ID (4, 0 = clear), 4 zero octets, the content.
//
//	accept   version (1 octet, 1), kind (1), flags (1: 1 eight-bit, 2 UTF-8 header, 4 SMTPUTF8, 8 content in a
//	         draft, 16 has a parent, 32 no content), hops uvarint,
//	         size uvarint (octets of content),
//	         inline: uvarint distance in octets from the start of the content record forward to the start of this record
//	         draft: ID (16), CRC of the whole draft file (4), key ID (4)
//	         parent ID (16, when flag 16), tenant str, region str,
//	         arrival: time (8), client str, server str (netip.AddrPort binary: address, 2 octets port little-endian; empty = none),
//	         listener str, hello str, protocol str, tls str, user str,
//	         reverse-path: local str, domain str; MAIL: size uvarint, body (1), ret (1), envid str, auth str,
//	         recipients uvarint, and for each: local str, domain str, notify (1), orcpt str
//	copy     an accept body, then for each recipient: state (1), cause (1), attempts uvarint, next attempt (8).
//	         It replaces the accept with the same ID wherever that lies; the statuses count only for a reader that
//	         does not know the message yet
//	move     version (1 octet, 1), recipient uvarint, to (1), cause (1), flags (1: 1 has an attempt, 2 has a report),
//	         time of the change (8), next attempt (8), report ID (16, flag 2),
//	         attempt (flag 1): time (8), duration varint ns, next hop str, host str, peer str, tls str, cause (1),
//	         reply: code uvarint, enhanced 3 x uvarint, lines uvarint and each str; detail str
//	finish   as move; "to" is terminal. The message ends with its last recipient's
//	refused  (event log only) version (1 octet, 1), time (8), tenant str, client str, listener str, hello str,
//	         reverse local str, domain str, size uvarint, code uvarint, enhanced 3 x uvarint, text str,
//	         recipients uvarint and each: local str, domain str
//	lost     (event log only) version (1 octet, 1), time (8), recipient + 1 uvarint (0 = whole message), reason str
//	note     kind (1), then
//	         1 adopted: incarnation (10), then a ledger
//	         2 scar: segment (8), offset (8), octets (8), batch number (8), 1 octet: 1 torn, 2 damaged. Known already
//	         3 shed (event log): event file number (8), first time (8), last time (8)
//	filter   (event log, last record of a complete file) key count uvarint, hashes a key (1), then a Bloom filter:
//	         bit i of the filter is bit i%8 of octet i/8; the j-th bit of a key is (h1 + j*h2) mod bits with
//	         h1, h2 = low and high half of FNV-1a-64(key), h2 |= 1; keys are the 16 octets of each ID and each
//	         reverse- and forward-path as "local@domain" lowered (ASCII)
//	ledger   tenants uvarint, each: tenant str, sources (kinds 0..4, 0 = a kind of a newer build) 5 x uvarint, terminal (states 3..7) 5 x uvarint,
//	         lost uvarint. All count recipients
//
// Checkpoint. Written whole to *.tmp, synced, renamed, directory synced. It
// counts only when every chunk is good and the end chunk is there.
//
//	off len  checkpoint header
//	  0   8  "PSTNCKP1"
//	  8   2  format version, 1
//	 10   2  least reader version, 1
//	 12   4  0
//	 16   8  number
//	 24  10  incarnation
//	 34   6  0
//	 40   8  batch: the state is that after this main batch
//	 48   8  segment and
//	 56   8  offset at which replay begins: the end of that batch
//	 64   8  limit
//	 72   8  time
//	 80   8  time since which the ledger counts
//	 88   4  flags: 1 = the ledger was restarted (a full scan without checkpoint): older sums are unknown
//	 92   4  CRC of octets 0..91
//
//	off len  chunk
//	  0   1  kind: 1 segments, 2 ledger, 3 entries, 4 scars, 5 adopted incarnations, 6 end
//	  1   3  0
//	  4   4  length of the body
//	  8   4  CRC of octets 0..7 and the body
//	 12   4  0
//	 16   n  body
//
// The chunks come in the order segments, ledger, scars, adopted, entries (as
// many as it takes), end. A terminal recipient of a live
// message is in the entry and in the ledger; one that is queued or held is
// only in the entry.
//
//	segments  each: number (8), seed (8)          scars  each: as in note 2, 33 octets
//	entries   each: ID (16), tenant str, kind (1), flags (1: 1 content in a draft, 2 doubt: an unknown record was met),
//	          segment uvarint, offset uvarint, octets of the accept or copy record uvarint, its batch
//	          uvarint, arrival (8), size uvarint, draft file's ID (16, flag 1), recipients uvarint, each: state (1), cause (1), attempts uvarint, next attempt (8), domain key str
//	adopted   each: incarnation (10)              end    number of entries (8)
//
// # States
//
// Where a message is, what of it is on the disk, and what recovery makes of a
// power cut at that line. A test walks every row.
//
//	state          on the disk                                moved on by                   recovery
//	drafted        nothing, or draft-ID in parts              Draft.Write                   nothing; draft-ID is removed
//	streamed       draft-ID synced, named by nothing          Commit (large content)        nothing; draft-ID is removed
//	queued         as before                                  Commit (enqueue)              as before
//	written        batch without sync                         committer                     counts when whole, else torn: no one was told 250
//	accepted       batch synced                               committer (sync)              live; damage is named
//	evented        accept in the event log as well            event writer                  live; a lost accept is named from it
//	changed        move or finish written                     Apply                         as written, or as before the change: tried again
//	ended          last finish synced                         committer (sync)              gone; its draft is removed
//	checkpointed   entry (or its absence) in a checkpoint     keeper                        read from the checkpoint, then the log behind it
//	copied         copy in a new segment, accept in the old   keeper (copy-forward)         the copy counts, wherever the accept is
//	unneeded       segment without live mail, before the      keeper (recycle)              spare or gone; its number stays unused
//	               older of two checkpoints, events synced
//	adopting       accept in a foreign directory, copies in   Open                          copied again only where the ID is not there yet
//	               ours
//	adopted        adopted note synced in ours                Open                          foreign directory is put aside, nothing is read from it
//
// # Torn tail and damage
//
// S is the highest number that any good batch, or the checkpoint, says was
// synced. A bad batch numbered up to S is damage: its good records count one
// by one, the others are named. A bad batch beyond S was never
// acknowledged: without its trailer it does not exist; with it, groups of which every
// record is good count (more mail than acknowledged is no loss), the others
// are reported as torn. So that a quiet node's last batch is not in doubt, the
// committer writes an empty batch, which bears S, a moment after the last sync. A batch's
// header and trailer stand for each other: with one destroyed, the records are
// found by the other.
//
// # One writer, one order
//
// One committer goroutine writes the main log: all that is queued becomes one
// batch, one write, one sync. The index always is the state after the last
// written batch. A checkpoint is that state at one batch: the committer syncs
// and starts it, the keeper writes it part by part, and a part about to
// change before it was written is saved first.
//
// Segments are used and freed in order of their numbers (first in, first out);
// live mail in the oldest is copied forward when the log would otherwise grow
// above three times what lives in it, or when the segment is older than an hour
// and finished mail lies in the log.
// So a change never outlives the accept that it belongs to, and a full
// scan without any checkpoint gives the same state. A freed segment is used again, or
// overwritten with zero octets within 10 minutes. All numbers here: chosen.
package spool
