package demo

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-mail/postern/internal/durable/faultfs"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func put(t *testing.T, box *Inbox, m Message, content string) {
	t.Helper()
	in, err := box.begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{string(appendDelivery(nil, m)), content} {
		if _, err := in.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.keep(); err != nil {
		t.Fatal(err)
	}
}

const sampleContent = "Received: from a ([192.0.2.1])\r\n\tby gw.example.test with ESMTP\r\n" +
	"\tid 0123456789ABCDEFGHJKMNPQRS\r\n\tfor <bob@example.test>;\r\n\tMon, 04 May 2026 12:00:00 +0000\r\n" +
	"Received: from b by a id OTHER; x\r\nReturn-Path: <forged@sender.test>\r\nDelivered-To: forged@sender.test\r\n" +
	"From: Somebody <somebody@sender.test>\r\nSubject: Folded\r\n over two lines\r\n\r\nSubject: in the body\r\n"

func TestAnInboxIsTheSameAfterPowerWasCutAndItWasOpenedAgain(t *testing.T) {
	disk := faultfs.NewMem()
	box, err := OpenInbox(disk, "/inbox")
	if err != nil {
		t.Fatal(err)
	}
	put(t, box, Message{Reverse: "somebody@sender.test", Forward: []string{"bob@example.test", "carol@example.test"}, Time: noon}, sampleContent)
	put(t, box, Message{Forward: []string{"alice@example.test"}, Time: noon.Add(time.Second), TLS: "TLS1.3 X"}, "Subject: DSN\r\n\r\n")
	half, err := box.begin() // not acknowledged when the power goes
	if err != nil {
		t.Fatal(err)
	}
	if _, err := half.Write([]byte("half a mess")); err != nil {
		t.Fatal(err)
	}

	want := box.Messages()
	if len(want) != 2 || want[0].ID != "0123456789ABCDEFGHJKMNPQRS" || want[0].Subject != "Folded over two lines" ||
		want[0].Reverse != "somebody@sender.test" || len(want[0].Forward) != 2 || want[1].Reverse != "" {
		t.Fatalf("the list: %+v", want)
	}
	for _, unsynced := range []faultfs.Unsynced{faultfs.KeepNone, faultfs.KeepAll} {
		after := disk.CrashClone(unsynced, 1)
		again, err := OpenInbox(after, "/inbox")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, again.Messages()); diff != "" {
			t.Errorf("keeping %v of what was not synced (-before +after):\n%s", unsynced, diff)
		}
		content, err := again.Read(1)
		if err != nil || !strings.HasSuffix(string(content), sampleContent) {
			t.Errorf("content %q, %v", content, err)
		}
	}
}

func TestAnInboxForgetsTheOldestBeyondItsBounds(t *testing.T) {
	disk := faultfs.NewMem()
	box, err := OpenInbox(disk, "/inbox")
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxMessages + 3 {
		put(t, box, Message{Forward: []string{"bob@example.test"}, Time: noon}, fmt.Sprintf("Subject: %d\r\n\r\n", i+1))
	}
	list := box.Messages()
	if len(list) != maxMessages || list[0].Number != 4 {
		t.Errorf("%d messages from number %d; want %d from 4", len(list), list[0].Number, maxMessages)
	}
	if entries, err := disk.ReadDir("/inbox"); err != nil || len(entries) != maxMessages {
		t.Errorf("%d files, %v; want %d", len(entries), err, maxMessages)
	}
}
