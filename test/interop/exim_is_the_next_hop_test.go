package interop_test

import (
	"fmt"
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/test/harness"
)

func TestEximIsTheNextHop(t *testing.T) {
	for name, main := range map[string]func(*testing.T) string{
		"plain": func(*testing.T) string { return eximPlain },
		"without CHUNKING": func(*testing.T) string {
			return "tls_advertise_hosts =\nchunking_advertise_hosts = :\npipelining_advertise_hosts = :\n"
		},
		"under STARTTLS": func(t *testing.T) string {
			dir := openDir(t)
			cert, key := harness.Certificate(t, dir, "exim.test")
			mustRun(t, "", "chown", "-R", "Debian-exim:", dir)
			return fmt.Sprintf("tls_advertise_hosts = *\ntls_certificate = %s\ntls_privatekey = %s\n", cert, key)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink := harness.Sink(t, oracle.SinkConfig{})
			node := startPostern(t, startExim(t, sink.Port(), main(t), ""), "", "")
			var log oracle.Log
			sendAll(t, node.SMTP, &log, awkward("to-exim", false))
			arrived(t, sink, &log)
		})
	}
}
