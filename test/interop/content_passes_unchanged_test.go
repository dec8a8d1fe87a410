package interop_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/test/harness"
)

func TestContentPassesUnchanged(t *testing.T) {
	for name, cfg := range map[string]oracle.SinkConfig{"by BDAT": {}, "by DATA": {NoChunking: true}} {
		t.Run(name, func(t *testing.T) {
			sink := harness.Sink(t, cfg)
			node := startPostern(t, sink.Addr(), "", "")
			all := awkward("direct", true)
			for i, body := range []string{
				strings.Repeat("l", 200_000) + "\r\n",              // one line of 200 kB
				strings.Repeat("\r\n", 5000),                       // nothing but line ends
				strings.Repeat(".\r\n", 5000),                      // nothing but dots
				strings.Repeat("x", 32<<10-3) + "\r\n.\r\nend\r\n", // a dot at the edge of a buffer
			} {
				for shift := range 4 {
					id := fmt.Sprintf("edge-%d-%d", i, shift)
					rest := "Subject: " + strings.Repeat("s", shift) + "\r\n\r\n" + body
					all = append(all, &oracle.Message{ID: id, ReversePath: "a@" + domain, Recipients: []string{id + "@" + domain}, Content: oracle.Marked(id, []byte(rest))})
				}
			}
			var log oracle.Log
			sendAll(t, node.SMTP, &log, all)
			arrived(t, sink, &log)
		})
	}
}
