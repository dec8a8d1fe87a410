package interop_test

import (
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/test/harness"
)

// Without this, a peer that changes content would be blamed on Postern.
func TestThePeersAloneKeepEveryOctet(t *testing.T) {
	t.Run("Postfix", func(t *testing.T) {
		sink := harness.Sink(t, oracle.SinkConfig{})
		addr := startPostfix(t, sink.Port(), "")
		var log oracle.Log
		sendAll(t, addr, &log, awkward("alone", true))
		arrived(t, sink, &log)
	})
	t.Run("Exim", func(t *testing.T) {
		sink := harness.Sink(t, oracle.SinkConfig{})
		addr := startExim(t, sink.Port(), eximPlain, "")
		var log oracle.Log
		sendAll(t, addr, &log, awkward("alone", false))
		arrived(t, sink, &log)
	})
}
