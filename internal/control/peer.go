package control

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/postern-mail/postern/internal/limit"
)

// Role says what a peer may do. The zero value may do nothing.
type Role uint8

// The roles; a higher one includes the lower.
const (
	// Observer may look.
	Observer Role = 1 + iota
	// Operator may look and change.
	Operator
)

// Credentials are a peer's, as the kernel vouches for them.
type Credentials struct {
	PID int
	UID uint32
	GID uint32
}

// OwnerOnly is the rule for peers unless Config.Authorize says otherwise: root
// and the user that the node runs as are Operators, everyone else is nobody.
func OwnerOnly(c Credentials) Role { return ownerOnly(c, os.Geteuid()) }

func ownerOnly(c Credentials, own int) Role {
	if c.UID == 0 || own >= 0 && c.UID == uint32(own) {
		return Operator
	}
	return 0
}

// guard is a listener that lets only known peers in.
type guard struct {
	*net.UnixListener
	authorize func(Credentials) Role
	ask       func(*net.UnixConn) (Credentials, error)
	log       *slog.Logger
	refused   *atomic.Int64
	open      *limit.Count
}

// known is a connection whose peer's role is known.
type known struct {
	*net.UnixConn
	role Role
	give func() // gives the connection's place back, once
}

// Close implements net.Conn.
func (k *known) Close() error {
	k.give()
	return k.UnixConn.Close()
}

// Accept returns the next connection of a peer with a role. Others, and those
// beyond the bound, are closed unheard.
func (g *guard) Accept() (net.Conn, error) {
	for {
		conn, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		credentials, err := g.ask(conn)
		if err == nil {
			role := g.authorize(credentials)
			if role != 0 && g.open.TryTake() {
				return &known{UnixConn: conn, role: role, give: sync.OnceFunc(g.open.Give)}, nil
			}
		}
		g.refused.Add(1)
		g.log.Warn("control peer refused", "uid", credentials.UID, "pid", credentials.PID, "error", cmp.Or(err, errNotYou))
		_ = conn.Close() // nothing was said
	}
}

// errNotYou is why a peer without a role, or beyond the bound, is refused.
var errNotYou = errors.New("no role here, or too many requests at once")

type roleKey struct{}

func withRole(ctx context.Context, conn net.Conn) context.Context {
	if k, ok := conn.(*known); ok {
		return context.WithValue(ctx, roleKey{}, k.role)
	}
	return ctx
}

func roleOf(ctx context.Context) Role {
	role, _ := ctx.Value(roleKey{}).(Role)
	return role
}
