package interop_test

import (
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/internal/drill/rig"
	"github.com/postern-mail/postern/test/harness"
)

func TestPostfixRelaysThroughPostern(t *testing.T) {
	for name, extra := range map[string]string{
		"plain":         "smtp_tls_security_level = none\n",
		"STARTTLS":      "smtp_tls_security_level = encrypt\n",
		"without ESMTP": "smtp_never_send_ehlo = yes\nsmtp_always_send_ehlo = no\nsmtputf8_enable = no\ndisable_mime_output_conversion = yes\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink := harness.Sink(t, oracle.SinkConfig{})
			node := startPostern(t, sink.Addr(), "", "")
			addr := startPostfix(t, rig.PortOf(node.SMTP), extra)
			var log oracle.Log
			sendAll(t, addr, &log, awkward("postfix", name != "without ESMTP"))
			arrived(t, sink, &log)
		})
	}
}
