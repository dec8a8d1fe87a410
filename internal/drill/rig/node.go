package rig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Config says how a Node is made.
type Config struct {
	Binary  string   // the postern to run
	Dir     string   // holds postern.yaml, tenants.yaml, data and log
	Data    string   // data directory; empty means Dir/data
	YAML    string   // postern.yaml, "" for defaults
	Tenants string   // tenants.yaml
	Env     []string // added to the environment
	// Wrap is put before the command line, for example strace with its flags. It
	// must leave postern as the direct child (strace -D).
	Wrap []string
	// Flags are added to `postern serve`.
	Flags []string
}

// Node is a `postern serve` that can be started and ended many times. It is
// not safe for concurrent use, but for Command and Running.
type Node struct {
	Config
	SMTP, Submission, HTTP, Metrics string // addresses

	cmd    *exec.Cmd
	exited chan struct{}
	starts int
}

// New chooses ports and writes the node's files. Nothing runs yet.
func New(c Config) (*Node, error) {
	n := &Node{Config: c}
	if n.Data == "" {
		n.Data = filepath.Join(n.Dir, "data")
	}
	for _, addr := range []*string{&n.SMTP, &n.Submission, &n.HTTP, &n.Metrics} {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		*addr = Loopback(port)
	}
	if err := os.MkdirAll(n.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return n, n.WriteFiles()
}

// WriteFiles writes postern.yaml and tenants.yaml again after a change of
// Config.
func (n *Node) WriteFiles() error {
	return errors.Join(
		os.WriteFile(n.file("postern.yaml"), []byte("hostname: gw.drill.test\n"+n.YAML), 0o600),
		os.WriteFile(n.file("tenants.yaml"), []byte(n.Tenants), 0o600))
}

func (n *Node) file(name string) string { return filepath.Join(n.Dir, name) }

// Start starts the process and waits until it is ready.
func (n *Node) Start(ctx context.Context) error {
	if err := n.Launch(); err != nil {
		return err
	}
	return n.WaitReady(ctx)
}

// Launch starts the process and waits for nothing.
func (n *Node) Launch() error {
	args := append([]string{}, n.Wrap...)
	args = append(args, n.Binary, "serve", "--config", n.file("postern.yaml"), "--data", n.Data, "--tenants", n.file("tenants.yaml"),
		"--listen-smtp", n.SMTP, "--listen-submission", n.Submission, "--listen-http", n.HTTP, "--listen-metrics", n.Metrics)
	args = append(args, n.Flags...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), n.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C for us is not one for the node
	log, err := os.OpenFile(n.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("node's log: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	n.starts++
	n.cmd, n.exited = cmd, make(chan struct{})
	exited := n.exited
	go func() { // ends with the child, which Close kills
		_ = cmd.Wait() // the state is in cmd.ProcessState
		close(exited)
	}()
	return nil
}

// WaitReady returns when /readyz answers 200.
func (n *Node) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("/readyz says %s", resp.Status)
		}
		select {
		case <-n.exited:
			return fmt.Errorf("the node ended while it started (%s); its log ends:\n%s", n.cmd.ProcessState, n.LogTail(3000))
		case <-ctx.Done():
			return fmt.Errorf("the node is not ready: %w; its log ends:\n%s", err, n.LogTail(3000))
		case <-time.After(2 * time.Millisecond): // between two questions
		}
	}
}

// PID is the process ID of the running node.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (n *Node) Exited() <-chan struct{} { return n.exited }

// Running reports whether the process has not ended.
func (n *Node) Running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// State says how the process ended; only after Exited.
func (n *Node) State() *os.ProcessState { return n.cmd.ProcessState }

// Kill ends the process with SIGKILL, waits for it, and returns the moment of
// the signal.
func (n *Node) Kill() (time.Time, error) {
	at := time.Now()
	if !n.Running() {
		return at, nil
	}
	if err := n.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return at, fmt.Errorf("kill the node: %w", err)
	}
	<-n.exited
	return at, nil
}

// Stop ends the process with SIGTERM, and with SIGKILL when ctx ends first,
// which is an error.
func (n *Node) Stop(ctx context.Context) error {
	if !n.Running() {
		return nil
	}
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the node: %w", err)
	}
	select {
	case <-n.exited:
		return nil
	case <-ctx.Done():
		_, err := n.Kill()
		return errors.Join(fmt.Errorf("the node did not stop in time: %w; its log ends:\n%s", ctx.Err(), n.LogTail(2000)), err)
	}
}

// Close kills the process if it runs.
func (n *Node) Close() { _, _ = n.Kill() }

// LogFile is where all starts write standard output and error.
func (n *Node) LogFile() string { return n.file("log") }

// LogTail is the last octets of the log.
func (n *Node) LogTail(octets int) string {
	b, err := os.ReadFile(n.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-octets):])
}

// Command runs another postern command on the node's data directory and
// returns its standard output.
func (n *Node) Command(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, n.Binary, args...)
	cmd.Env = append(os.Environ(), "POSTERN_DATA="+n.Data)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("postern %s: %w: %s", strings.Join(args, " "), err, errOut.String())
	}
	return out, nil
}
