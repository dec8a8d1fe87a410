package interop_test

import (
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/internal/drill/rig"
	"github.com/postern-mail/postern/test/harness"
)

func TestEximRelaysThroughPostern(t *testing.T) {
	for name, transport := range map[string]string{
		"with CHUNKING":     "  hosts_try_chunking = *\n  hosts_avoid_tls = *\n",
		"with DATA":         "  hosts_try_chunking =\n  hosts_avoid_tls = *\n",
		"under STARTTLS":    "  hosts_require_tls = *\n  tls_verify_certificates =\n  tls_try_verify_hosts =\n",
		"without ESMTP":     "  hosts_avoid_esmtp = *\n",
		"without pipelines": "  hosts_avoid_pipelining = *\n  hosts_avoid_tls = *\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink := harness.Sink(t, oracle.SinkConfig{})
			node := startPostern(t, sink.Addr(), "", "")
			addr := startExim(t, rig.PortOf(node.SMTP), eximPlain, transport)
			var log oracle.Log
			sendAll(t, addr, &log, awkward("exim", false))
			arrived(t, sink, &log)
		})
	}
}
