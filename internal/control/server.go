package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/internal/limit"
)

// Bounds of the server. Chosen: people and scripts on one machine.
const (
	maxConnections = 64
	maxRequests    = 16
	maxRequest     = 1 << 20 // octets
	headerTimeout  = 5 * time.Second
	bodyTimeout    = 30 * time.Second
	idleTimeout    = time.Minute
	writeTimeout   = time.Minute // for the client to take one piece
	callTimeout    = 15 * time.Minute
)

// Config says what a Server serves. Dir and Hello are required.
type Config struct {
	Dir       string                 // the data directory; must exist
	Hello     Hello                  // Protocol is filled in
	Requests  *limit.Count           // requests at once; nil: 16
	Timeout   time.Duration          // of one call; 15 minutes
	Authorize func(Credentials) Role // OwnerOnly
	Logger    *slog.Logger           // slog.Default
}

// Server is the node's end of the socket. Register calls with Handle and
// HandleStream before Serve.
type Server struct {
	cfg     Config
	socket  *socket
	http    *http.Server
	calls   map[string]call
	refused atomic.Int64
	ask     func(*net.UnixConn) (Credentials, error)
}

type call struct {
	role  Role
	serve func(w http.ResponseWriter, r *http.Request, body []byte)
}

// Listen makes the socket in cfg.Dir. The caller calls Serve, then Shutdown.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Requests == nil {
		cfg.Requests = limit.NewCount("control_requests", maxRequests)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = callTimeout
	}
	if cfg.Authorize == nil {
		cfg.Authorize = OwnerOnly
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Hello.Protocol = Protocol
	s := &Server{cfg: cfg, calls: make(map[string]call), ask: peerOf}
	var err error
	if s.socket, err = bind(ctx, cfg.Dir); err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    8 << 10,
		ConnContext:       withRole,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
	}
	Handle(s, CallHello, Observer, func(context.Context, None) (Hello, error) { return s.cfg.Hello, nil })
	return s, nil
}

// Path returns where the socket is.
func (s *Server) Path() string { return s.socket.path }

// RefusedPeers counts connections closed because of who made them, or because
// there were too many.
func (s *Server) RefusedPeers() int64 { return s.refused.Load() }

// Serve answers until Shutdown; then it returns nil.
func (s *Server) Serve() error {
	listener := &guard{
		UnixListener: s.socket.listener, authorize: s.cfg.Authorize, ask: s.ask, log: s.cfg.Logger, refused: &s.refused,
		open: limit.NewCount("control_connections", maxConnections),
	}
	if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket %s: %w", s.socket.path, err)
	}
	return nil
}

// Shutdown stops accepting, waits for running requests until ctx ends, then
// cuts them, and removes the socket. It is called once, also when Serve never
// was.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	return errors.Join(err, s.socket.close())
}

// Handle registers a call with one reply. Req's unknown keys are refused.
func Handle[Req, Resp any](s *Server, name string, role Role, f func(context.Context, Req) (Resp, error)) {
	s.calls[name] = call{role, func(w http.ResponseWriter, r *http.Request, body []byte) {
		var req Req
		if err := decode(body, &req); err != nil {
			writeError(w, err)
			return
		}
		resp, err := f(r.Context(), req)
		if err != nil {
			writeError(w, err)
			return
		}
		octets, err := json.Marshal(resp)
		if err != nil {
			writeError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
		_, _ = w.Write(append(octets, '\n')) // a client that left needs no answer
	}}
}

// HandleStream registers a call whose reply is any number of items. emit
// returns an error when the client has gone; f then returns.
func HandleStream[Req, Item any](s *Server, name string, role Role, f func(ctx context.Context, req Req, emit func(Item) error) error) {
	s.calls[name] = call{role, func(w http.ResponseWriter, r *http.Request, body []byte) {
		var req Req
		if err := decode(body, &req); err != nil {
			writeError(w, err)
			return
		}
		out := newStream(w)
		err := f(r.Context(), req, func(item Item) error { return out.line(frame{Item: item}) })
		out.end(err)
	}}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.recover(w, r)
	if !s.cfg.Requests.TryTake() {
		writeError(w, Errorf(CodeBusy, "the node answers as many requests as it may; try again"))
		return
	}
	defer s.cfg.Requests.Give()
	name, found := strings.CutPrefix(r.URL.Path, "/v1/")
	c, known := s.calls[name]
	switch {
	case !found || !known:
		writeError(w, Errorf(CodeUnknownCall, "postern %s knows no call %q", s.cfg.Hello.Version, r.URL.Path))
		return
	case r.Method != http.MethodPost:
		writeError(w, Errorf(CodeBadRequest, "calls are made with POST"))
		return
	case roleOf(r.Context()) < c.role:
		writeError(w, Errorf(CodeForbidden, "you may not %s", name))
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		writeError(w, Errorf(CodeBadRequest, "the request can't be read: %v", err))
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	c.serve(w, r.WithContext(ctx), body)
}

// recover ends the request of a handler that panicked, and only it.
func (s *Server) recover(w http.ResponseWriter, r *http.Request) {
	if p := recover(); p != nil {
		s.cfg.Logger.Error("control call panicked", "call", r.URL.Path, "panic", fmt.Sprint(p))
		writeError(w, Errorf(CodeInternal, "the node met a defect of its own; see its log"))
	}
}

func decode(body []byte, req any) error {
	if len(body) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(req); err != nil {
		return Errorf(CodeBadRequest, "the request can't be read: %v", err)
	}
	return nil
}

// asError gives err its words for the other side.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return &Error{Code: e.Code, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Errorf(CodeUnavailable, "not answered in time: %v", err)
	}
	return Errorf(CodeInternal, "%v", err)
}

func writeError(w http.ResponseWriter, err error) {
	e := asError(err)
	octets, marshalErr := json.Marshal(frame{Error: e})
	if marshalErr != nil {
		octets = []byte(`{"error":{"code":"internal","message":"an error without words"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status())
	_, _ = w.Write(append(octets, '\n')) // a client that left needs no answer
}
