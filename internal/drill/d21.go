package drill

import "github.com/postern-mail/postern/internal/telemetry"

// custody is D21: what was acknowledged reaches its next hop, whatever stops
// the process or the disk.
func custody() scenario {
	return scenario{
		Entry: Entry{
			Name: "D21", Title: "custody under kill -9",
			Fault: "the process is killed at random moments and at named lines, the disk answers EIO and ENOSPC, is full, or holds forged records",
			Bar:   "0 lost, duplicates <= 0.1 % and each explained, the sync precedes every 250, errors are 4xx, nothing forged is accepted or finished",
		},
		parts: []part{
			{name: "kill", what: "SIGKILL at random moments under 200 messages a second; the node is started again at once.", run: killAtRandom},
			{name: "kill-slow-disk", what: "The same while every write and sync takes 20 ms more.", needs: "strace", run: killOnSlowDisk},
			{name: "fail-points", what: "The process kills itself at each named line of the mail path, at a random passage.", drill: true, run: killAtPoints},
			{name: "order", what: "Every system call of sampled transactions: the sync that covers a message returned before its 250 was written.", needs: "strace", run: syncBeforeReply},
			{name: "disk-errors", what: "Syncs answer EIO, writes ENOSPC: the client hears 4xx, nobody else's mail is lost, the node stays up, and a kill afterwards changes nothing of it.", needs: "strace", run: diskErrors},
			{name: "forged", what: "Content that holds valid-looking batches of the log lies beside a flipped octet when the node starts.", run: forgedRecords},
			{name: "full-disk", what: "The disk fills up under load and gets room again.", needs: "root", run: fullDisk},
			{name: "kill-slow-disk, ack before write", what: "Control: 250 is said before the batch is written.", weakness: telemetry.AckBeforeWrite, needs: "strace", run: killOnSlowDisk},
			{name: "order, ack before sync", what: "Control: 250 is said after the write and before the sync.", weakness: telemetry.AckBeforeSync, needs: "strace", run: syncBeforeReply},
			{name: "forged, unseeded CRC", what: "Control: sums do not contain the segment's seed.", weakness: telemetry.UnseededCRC, run: forgedRecords},
		},
	}
}
