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
	loaded, err := c.load(a)
	if err != nil {
		return err
	}
	return gateway.Serve(a.ctx, gateway.Options{Config: &loaded.Config, Demo: c.Demo, Stdout: a.stdout, Log: a.stderr})
}
