package gateway

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

// loadTenants reads tenants.yaml. A file that nobody named may be absent: then
// nobody is served, which is said in the log.
func (g *gateway) loadTenants() error {
	file, named := g.cfg.TenantsFile()
	g.tenantsFile = file
	if !named && g.demo != nil {
		g.tenantsFile, named = g.demo.TenantsFile, true
	}
	snapshot, err := tenant.Load(g.tenantsFile)
	if !named && errors.Is(err, fs.ErrNotExist) {
		g.log.Warn("no tenants", telemetry.KeyFile, g.tenantsFile)
		snapshot, err = new(tenant.Snapshot), nil
	}
	if err != nil {
		return fmt.Errorf("tenants: %w", err)
	}
	g.tenants = tenant.NewHolder(snapshot)
	return nil
}

// reload reads tenants and certificate again. Either both are put in force or
// neither; the error names every problem with its place. A file that takes the
// last domain away is refused: an editor that was caught while it wrote must
// not turn everybody's mail into 550. Whoever means it stops the node.
func (g *gateway) reload() (control.ReloadReply, error) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	reply := control.ReloadReply{File: g.tenantsFile, Before: g.tenants.Current().Revision()}
	snapshot, err := tenant.Load(g.tenantsFile)
	if err != nil {
		return reply, err
	}
	if now, was := snapshot.Counts().Domains, g.tenants.Current().Counts().Domains; now == 0 && was > 0 {
		return reply, fmt.Errorf("%s names no domain (was it cut short?) and %d are in force: "+
			"all their mail would be refused for good", g.tenantsFile, was)
	}
	if err := g.certificate.reload(); err != nil {
		return reply, err
	}
	g.tenants.Swap(snapshot)
	if g.queue != nil {
		g.queue.Rerouted()
	}
	counts := snapshot.Counts()
	reply.Revision = snapshot.Revision()
	reply.Tenants, reply.Domains, reply.Users = counts.Tenants, counts.Domains, counts.Users
	reply.Notes = []string{"the certificate was read again", "postern.yaml needs a restart"}
	g.log.Info("reloaded", telemetry.KeyRevision, reply.Revision, "before", reply.Before,
		"tenants", counts.Tenants, "domains", counts.Domains, "users", counts.Users)
	return reply, nil
}

// reloadLogged is reload for a signal, which has nobody to answer.
func (g *gateway) reloadLogged() {
	if !g.built.Load() {
		return // the files are about to be read, or just were
	}
	if _, err := g.reload(); err != nil {
		g.log.Error("reload refused", telemetry.KeyFile, g.tenantsFile, telemetry.KeyError, err)
	}
}
