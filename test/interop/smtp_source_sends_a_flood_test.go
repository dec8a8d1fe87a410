package interop_test

import (
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/test/harness"
)

func TestSMTPSourceSendsAFlood(t *testing.T) {
	need(t, false, "smtp-source")
	sink := harness.Sink(t, oracle.SinkConfig{})
	node := startPostern(t, sink.Addr(), "", "")
	for _, c := range []struct {
		name string
		n    int
		args []string
	}{
		{"twenty-sessions", 500, []string{"-s", "20", "-m", "500"}},
		{"one-connection", 1000, []string{"-d", "-s", "1", "-m", "1000"}},
		{"large", 20, []string{"-s", "4", "-m", "20", "-l", "1500000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := c.name + "@" + domain
			mustRun(t, "", "smtp-source", append(c.args, "-f", "flood@else.test", "-t", to, node.SMTP)...)
			waitCount(t, sink, to, c.n)
		})
	}
	t.Run("many-recipients", func(t *testing.T) {
		mustRun(t, "", "smtp-source", "-s", "2", "-m", "10", "-r", "50", "-f", "flood@else.test", "-t", "many@"+domain, node.SMTP)
		waitFor(t, sink, "10 messages for 50 recipients", func(all []oracle.Arrival) bool {
			return len(all) >= 500+1000+20+500
		})
	})
}
