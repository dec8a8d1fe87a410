package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/internal/bounce"
	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/demo"
	"github.com/postern-mail/postern/internal/durable"
	"github.com/postern-mail/postern/internal/edge"
	"github.com/postern-mail/postern/internal/node"
	"github.com/postern-mail/postern/internal/queue"
	"github.com/postern-mail/postern/internal/spool"
	"github.com/postern-mail/postern/internal/telemetry"
	"github.com/postern-mail/postern/internal/tenant"
)

// closeTime bounds what comes after the drain: closing the spool, the sockets
// and the log. Chosen: a last checkpoint of a full index takes some seconds.
const closeTime = 30 * time.Second

// maxDrain is the longest drain that a stop may ask for.
const maxDrain = time.Hour

// Options says what Serve runs.
type Options struct {
	// Config is the node's, valid and complete.
	Config *node.Config
	// Demo adds the sample tenant, its server and the .test zone.
	Demo bool
	// Stdout gets a text on what to try next when the node is ready; nil:
	// nothing is said.
	Stdout io.Writer
	// Log gets the log; nil: standard error.
	Log io.Writer
}

// gateway is one node while it runs.
type gateway struct {
	cfg   *node.Config
	opts  Options
	pid   int
	clock telemetry.Clock
	tel   *telemetry.Telemetry
	log   *slog.Logger

	fs          durable.FS
	spool       *spool.Spool
	tenants     *tenant.Holder
	certificate *certificate
	demo        *demo.Demo
	control     *control.Server
	controlDone chan error // capacity 1: the one result of its Serve
	queue       *queue.Queue
	bouncer     *bounce.Bouncer
	door        *edge.Door
	servers     []*smtpListener
	sessions    atomic.Uint64 // numbers them over all listeners, so that a log line names one
	webs        []*web
	health      *health

	tenantsFile string
	reloading   sync.Mutex

	undo    []undo      // in the order of building
	built   atomic.Bool // all of the above is made: other goroutines may look
	started bool
	stop    chan time.Duration
	broken  chan error
}

// undo is how one thing that was built is taken down.
type undo struct {
	what string
	do   func(ctx context.Context) error
}

// Serve builds a node, runs it until it is told to stop, and takes it down. It
// is called once in a process: it handles signals and sets the umask.
func Serve(ctx context.Context, o Options) error {
	g := &gateway{
		cfg: o.Config, opts: o, pid: os.Getpid(), clock: telemetry.WallClock, fs: durable.OS(),
		stop: make(chan time.Duration, 1), broken: make(chan error, 1), controlDone: make(chan error, 1),
	}
	signals := watchSignals(g)
	defer signals.end()
	if err := g.build(ctx); err != nil {
		return errors.Join(err, g.takeDown(0))
	}
	g.built.Store(true)
	g.start()
	g.tellWhatToTry()
	drain, err := g.wait(ctx)
	return errors.Join(err, g.takeDown(drain))
}

// push notes how what was just built is taken down.
func (g *gateway) push(what string, do func(ctx context.Context) error) {
	g.undo = append(g.undo, undo{what, do})
}

// wait returns when the node has to stop, and for how long it may drain.
func (g *gateway) wait(ctx context.Context) (time.Duration, error) {
	drain := g.cfg.Limits.Deadlines.Drain.Std()
	select {
	case <-ctx.Done():
		return drain, nil
	case asked := <-g.stop:
		if asked > 0 {
			drain = asked
		}
		return drain, nil
	case err := <-g.broken:
		return drain, err
	}
}

// requestStop lets Serve end; only the first request counts. 0 is the node's
// own drain time.
func (g *gateway) requestStop(drain time.Duration) {
	select {
	case g.stop <- drain:
	default: // it is stopping
	}
}

// fail lets Serve end with err; only the first counts.
func (g *gateway) fail(err error) {
	select {
	case g.broken <- err:
	default: // it is stopping
	}
}

// takeDown undoes what was built, last first. The steps share the drain time;
// each step after it has passed still gets closeTime.
func (g *gateway) takeDown(drain time.Duration) error {
	if g.health != nil {
		g.health.stop()
	}
	drained, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	var errs []error
	for i := len(g.undo) - 1; i >= 0; i-- {
		step := g.undo[i]
		began := time.Now()
		ctx, cancel := atLeast(drained, step.what)
		err := step.do(ctx)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", step.what, err))
		}
		if i > 0 { // the log itself is the first
			g.logStopped(step.what, time.Since(began), err)
		}
	}
	return errors.Join(errs...)
}

// atLeast is the drain's context for those that drain, and one of closeTime
// for those that close.
func atLeast(drained context.Context, what string) (context.Context, context.CancelFunc) {
	if what == partDoor || what == partQueue {
		return context.WithCancel(drained)
	}
	return context.WithTimeout(context.Background(), closeTime)
}

func (g *gateway) logStopped(what string, took time.Duration, err error) {
	if err != nil {
		g.log.Error("stopped badly", slog.String("part", what), telemetry.Milliseconds(took), slog.Any(telemetry.KeyError, err))
		return
	}
	g.log.Info("stopped", slog.String("part", what), telemetry.Milliseconds(took))
}
