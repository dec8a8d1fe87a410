package gateway

import (
	"fmt"
	"strings"
)

// tellWhatToTry writes what a newcomer may do next with the demo.
func (g *gateway) tellWhatToTry() {
	if g.opts.Stdout == nil || g.demo == nil {
		return
	}
	var b strings.Builder
	smtp, submission := g.addressOf("smtp"), g.addressOf("submission")
	data := ""
	if g.cfg.Data != "./data" {
		data = " --data " + g.cfg.Data
	}
	fmt.Fprintf(&b, "Postern runs. Mail for alice, bob and carol at example.test is taken on\n"+
		"%s and delivered to a sample server. Ctrl-C stops. Try, elsewhere:\n\n", smtp)
	fmt.Fprintf(&b, "  swaks --server %s --to alice@example.test --from you@sender.test\n", smtp)
	fmt.Fprintf(&b, "  postern demo inbox%s\n", data)
	fmt.Fprintf(&b, "  postern trace alice@example.test%s\n\n", data)
	fmt.Fprintf(&b, "alice submits with STARTTLS and a password (nothing leaves this machine):\n\n")
	fmt.Fprintf(&b, "  swaks --server %s -tls --auth-user alice --auth-password %s \\\n"+
		"    --from alice@example.test --to someone@partner.test\n\n", submission, g.demo.Password)
	fmt.Fprintf(&b, "someone@refuse.test is refused and alice gets a report; someone@slow.test is\n"+
		"deferred twice; someone@down.test waits (postern queue summary%s).\n", data)
	fmt.Fprintf(&b, "Tenants: %s; edit it, then: postern reload%s\n\n", g.tenantsFile, data)
	if _, err := g.opts.Stdout.Write([]byte(b.String())); err != nil {
		g.log.Warn("standard output is closed")
	}
}

// addressOf returns the first bound address of a listener.
func (g *gateway) addressOf(name string) string {
	for _, s := range g.servers {
		if s.Name == name {
			return s.ln.Addr().String()
		}
	}
	return "(no listener)"
}
