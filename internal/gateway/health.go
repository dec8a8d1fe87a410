package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/postern-mail/postern/internal/control"
)

// Bounds of the HTTP listeners, chosen: probes and scrapers are few and quick.
const (
	httpHeaderTimeout = 5 * time.Second
	httpTimeout       = 30 * time.Second
	httpWriteTimeout  = 5 * time.Minute // a profile takes as long as it was asked to
	httpMaxHeader     = 8 << 10         // octets
	httpConnections   = 64
)

// check is one thing that must hold for the node to be ready. It returns nil
// when it does, and does not wait.
type check struct {
	name string
	test func() error
}

// health knows whether the node is ready, in words.
type health struct {
	started time.Time

	mu       sync.Mutex
	checks   []check
	revision func() string // of the tenants in force; nil until they are read
	serving  bool          // every listener accepts
	stopping bool
}

func (h *health) add(name string, test func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, check{name, test})
}

// tells lets reports name the revision of the tenants in force.
func (h *health) tells(revision func() string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.revision = revision
}

// serve says that every listener accepts.
func (h *health) serve() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serving = true
}

// stop makes the node unready, so that balancers look elsewhere.
func (h *health) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

// report asks every check. The node is ready when all hold.
func (h *health) report(now time.Time) control.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := control.Health{Ready: h.serving && !h.stopping, Uptime: now.Sub(h.started).Seconds()}
	if h.revision != nil {
		out.Revision = h.revision()
	}
	listeners := control.HealthCheck{Name: "listeners", OK: out.Ready}
	switch {
	case h.stopping:
		listeners.Detail = "the node is stopping"
	case !h.serving:
		listeners.Detail = "the node is starting"
	}
	out.Checks = append(out.Checks, listeners)
	for _, c := range h.checks {
		hc := control.HealthCheck{Name: c.name, OK: true}
		if err := c.test(); err != nil {
			hc.OK, hc.Detail, out.Ready = false, err.Error(), false
		}
		out.Checks = append(out.Checks, hc)
	}
	return out
}

// handler serves /, /healthz and /readyz. /healthz is 200 as long as the
// process answers; /readyz is 200 only when mail can be taken in.
func (h *health) handler(hostname string, now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		report := h.report(now())
		status := http.StatusOK
		if !report.Ready {
			status = http.StatusServiceUnavailable
		}
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(report) // the prober has gone: nothing to do
			return
		}
		plain(w, status, words(report))
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "Postern, an email security gateway, on "+hostname+".\n\n"+
			"/healthz  the process answers\n/readyz   mail can be taken in\n")
	})
	return mux
}

func words(report control.Health) string {
	var b strings.Builder
	if report.Ready {
		b.WriteString("ready\n")
	} else {
		b.WriteString("not ready\n")
	}
	for _, c := range report.Checks {
		state := "ok"
		if !c.OK {
			state = "NOT OK"
		}
		fmt.Fprintf(&b, "%-20s %s", c.Name, state)
		if c.Detail != "" {
			b.WriteString(" (" + c.Detail + ")")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the prober has gone: nothing to do
}

// metricsHandler serves /metrics and the Go runtime's profiles.
func metricsHandler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// web is one HTTP listener with its bounds.
type web struct {
	name     string
	server   *http.Server
	listener net.Listener
	started  bool
	done     chan struct{} // closed when Serve has ended
}

func newWeb(name string, listener net.Listener, handler http.Handler) *web {
	return &web{
		name:     name,
		listener: netutil.LimitListener(listener, httpConnections),
		server: &http.Server{
			Handler: handler, ReadHeaderTimeout: httpHeaderTimeout, ReadTimeout: httpTimeout,
			WriteTimeout: httpWriteTimeout, IdleTimeout: httpTimeout, MaxHeaderBytes: httpMaxHeader,
		},
		done: make(chan struct{}),
	}
}

func (w *web) start(fail func(error)) {
	w.started = true
	go func() {
		defer close(w.done)
		if err := w.server.Serve(w.listener); !errors.Is(err, http.ErrServerClosed) {
			fail(fmt.Errorf("listener %s: %w", w.name, err))
		}
	}()
}

// stop ends the listener and waits for requests until ctx ends.
func (w *web) stop(ctx context.Context) error {
	if !w.started {
		return w.listener.Close()
	}
	err := w.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, w.server.Close())
	}
	<-w.done
	return err
}
