package telemetry

// A fail point is a named line of the mail path at which a drill may stop the
// process. In a release build FailPoint is empty and costs nothing; in a drill
// build (tag "drill") the environment variable POSTERN_FAILPOINT says which
// point does what (see failpoint_drill.go).
//
// FailPoints lists every name, in the order in which a message meets them. A
// test checks that each is used exactly as listed.
func FailPoints() []string {
	return []string{
		"edge.connected",
		"edge.mail",
		"edge.rcpt",
		"edge.data.begin",
		"edge.data.end",
		"edge.before-250",
		"spool.draft.created",
		"spool.draft.synced",
		"spool.commit.enter",
		"spool.batch.before-write",
		"spool.batch.half-written",
		"spool.batch.before-sync",
		"spool.batch.after-sync",
		"spool.batch.before-wake",
		"spool.segment.prepared",
		"spool.segment.rolled",
		"spool.segment.recycled",
		"spool.checkpoint.before-write",
		"spool.checkpoint.before-rename",
		"spool.checkpoint.after-rename",
		"spool.copy-forward.half",
		"spool.draft.removed",
		"spool.event.before-append",
		"spool.event.before-sync",
		"queue.claimed",
		"queue.before-change",
		"queue.after-change",
		"bounce.before-commit",
		"bounce.after-commit",
		"relay.connected",
		"relay.before-data",
		"relay.content.half",
		"relay.before-dot",
		"relay.after-dot",
		"relay.after-reply",
	}
}

// Weakness names a protecting property that a drill's control arm removes. A
// release build has none of them: Weakened is constant false there.
type Weakness string

// The weaknesses that the control arms of drills use.
const (
	// AckBeforeWrite answers 250 before the batch was written.
	AckBeforeWrite Weakness = "ack-before-write"
	// AckBeforeSync answers 250 after the write and before the sync.
	AckBeforeSync Weakness = "ack-before-sync"
	// UnseededCRC writes and checks record checksums without the segment's seed.
	UnseededCRC Weakness = "unseeded-crc"
	// LenientLF takes a bare LF as a line end, inside content too.
	LenientLF Weakness = "lenient-lf"
)
