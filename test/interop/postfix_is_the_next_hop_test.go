package interop_test

import (
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/test/harness"
)

func TestPostfixIsTheNextHop(t *testing.T) {
	for name, extra := range map[string]func(*testing.T) string{
		"plain":              func(*testing.T) string { return "" },
		"offering STARTTLS":  func(t *testing.T) string { return postfixTLS(t, "may") },
		"demanding STARTTLS": func(t *testing.T) string { return postfixTLS(t, "encrypt") },
		"without CHUNKING and PIPELINING": func(*testing.T) string {
			return "smtpd_discard_ehlo_keywords = chunking, pipelining, dsn, size\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink := harness.Sink(t, oracle.SinkConfig{})
			node := startPostern(t, startPostfix(t, sink.Port(), extra(t)), "", "")
			var log oracle.Log
			sendAll(t, node.SMTP, &log, awkward("to-postfix", true))
			arrived(t, sink, &log)
		})
	}
}
