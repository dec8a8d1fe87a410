package main

import (
	"github.com/postern-mail/postern/internal/gateway"
)

type serveCmd struct {
	nodeFlags
	Demo bool `help:"With a sample tenant, its mail server and a zone for .test names; nothing leaves this machine."`
}

// Run serves until SIGTERM, SIGINT or postern stop.
func (c *serveCmd) Run(a *app) error {
	loaded, err := c.load(a, c.machine())
	if err != nil {
		return err
	}
	return gateway.Serve(a.ctx, gateway.Options{Config: &loaded.Config, Demo: c.Demo, Stdout: a.stdout, Log: a.stderr})
}

// machine names the node where nobody gave it a hostname: the sample node has
// the name that its texts use; any other that of the machine.
func (c *serveCmd) machine() func() (string, error) {
	if !c.Demo {
		return nil
	}
	return func() (string, error) { return "gw.example.test", nil }
}
