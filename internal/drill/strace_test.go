package drill

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
)

const sample = `100 openat(AT_FDCWD, "/d/spool/x/segment-1", O_RDWR|O_CLOEXEC) = 7</d/spool/x/segment-1>
101 pwrite64(7</d/spool/x/segment-1>, "PSTN..X-Drill: da1-1 ..", 4096, 8192) = 4096
101 fdatasync(7</d/spool/x/segment-1> <unfinished ...>
102 write(9<TCP:[127.0.0.1:25->127.0.0.1:99]>, "250 2.1.0 ok\r\n", 14) = 14
101 <... fdatasync resumed>)          = 0
102 write(9<TCP:[127.0.0.1:25->127.0.0.1:99]>, "250 2.0.0 queued as A\r\n", 23) = 23
101 fdatasync(7</d/spool/x/segment-1>) = -1 EIO (Input/output error) (INJECTED)
102 +++ exited with 0 +++
`

func TestTheTraceIsReadWithItsOrder(t *testing.T) {
	tr, err := readTrace(strings.NewReader(sample))
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.calls) != 6 {
		t.Fatalf("%d calls", len(tr.calls))
	}
	sync := tr.calls[2]
	if sync.file != "/d/spool/x/segment-1" || sync.begin != 3 || sync.end != 5 || !sync.ok {
		t.Errorf("%+v", sync)
	}
	if last := tr.calls[5]; last.ok || !last.injected || last.file != sync.file {
		t.Errorf("%+v", last)
	}
}

func TestAReplyBeforeItsSyncIsSeen(t *testing.T) {
	good := strings.Split(strings.TrimSpace(sample), "\n")
	early := append([]string(nil), good...)
	early[4], early[5] = early[5], early[4] // 250 before the sync returned
	unsynced := append([]string(nil), good[:2]...)
	unsynced = append(unsynced, good[5])
	unwritten := append([]string{good[5]}, good[1:5]...)
	for name, c := range map[string]struct {
		lines []string
		right bool
	}{"good": {good, true}, "early": {early, false}, "never synced": {unsynced, false}, "written later": {unwritten, false}} {
		tr, err := readTrace(strings.NewReader(strings.Join(c.lines, "\n") + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		var writes, syncs, replies []*call
		for _, k := range tr.calls {
			switch {
			case k.name == "fdatasync":
				syncs = append(syncs, k)
			case strings.HasPrefix(k.file, "TCP"):
				replies = append(replies, k)
			case strings.Contains(k.args, "da1-1"):
				writes = append(writes, k)
			}
		}
		why := orderOf(oracle.Sent{ID: "da1-1", Reply: oracle.Reply{Text: "250 2.0.0 queued as A"}}, writes, syncs, replies, tr.dsync)
		if (why == "") != c.right {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestNoEndingIsTheRealOne(t *testing.T) {
	for _, e := range endings() {
		if strings.Contains(string(e), "\r\n.\r\n") {
			t.Errorf("%q", e)
		}
	}
	if got := withoutEnd([]byte(".\r\na\r\n.\r\n.\r\n")); strings.Contains("\r\n"+string(got), "\r\n.\r\n") {
		t.Errorf("%q still holds an end", got)
	}
}
