// Package e2e_test runs the real binary and judges it from outside.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the postern under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "postern-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "postern")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/postern")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build postern:", err)
		return 1
	}
	return m.Run()
}

// settings of postern.yaml that make retries quick enough to be watched.
const quickRetries = "queue:\n  backoff: [1s, 1s]\n  site_backoff: [1s, 1s]\n"

// node is one `postern serve --demo` with its data directory.
type node struct {
	t                               *testing.T
	dir                             string
	smtp, submission, http, metrics string
	sample                          string // the sample customer's server
	cmd                             *exec.Cmd
	log                             *bytes.Buffer
	exited                          chan error
}

// newNode chooses ports and directories; nothing runs yet.
func newNode(t *testing.T, yaml string) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir()}
	for _, addr := range []*string{&n.smtp, &n.submission, &n.http, &n.metrics, &n.sample} {
		*addr = freeAddress(t)
	}
	if err := os.WriteFile(n.file("postern.yaml"), []byte("hostname: gw.example.test\n"+yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

// startNode starts one and waits until it is ready.
func startNode(t *testing.T, yaml string) *node {
	t.Helper()
	n := newNode(t, yaml)
	n.start()
	return n
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func (n *node) file(name string) string { return filepath.Join(n.dir, name) }

func (n *node) start() {
	n.t.Helper()
	n.log = new(bytes.Buffer)
	n.cmd = exec.Command(binary, "serve", "--demo", "--config", n.file("postern.yaml"), "--data", n.file("data"),
		"--listen-smtp", n.smtp, "--listen-submission", n.submission, "--listen-http", n.http,
		"--listen-metrics", n.metrics, "--set", "listen.demo="+n.sample)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	exited := make(chan error, 1)
	n.exited = exited
	cmd, log := n.cmd, n.log
	go func() { exited <- cmd.Wait() }()
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		select {
		case err := <-exited:
			exited <- err
		case <-time.After(10 * time.Second):
		}
		for _, bad := range []string{"DATA RACE", "panic", "level=ERROR"} {
			if strings.Contains(log.String(), bad) {
				n.t.Errorf("the node's log says %q", bad)
			}
		}
		if n.t.Failed() && cmd == n.cmd {
			n.t.Logf("the end of the node's log:\n%s", tail(n.log.String(), 4000))
		}
	})
	n.eventually("the node is ready", func() error {
		select {
		case err := <-exited:
			exited <- err
			n.t.Fatalf("the node ended at start: %v\n%s", err, n.log)
		default:
		}
		resp, err := http.Get("http://" + n.http + "/readyz")
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// wait returns how the process ended.
func (n *node) wait() error {
	n.t.Helper()
	select {
	case err := <-n.exited:
		n.exited <- err
		return err
	case <-time.After(40 * time.Second):
		n.t.Fatalf("the node does not end; its log:\n%s", n.log)
		return nil
	}
}

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// eventually asks until test is content, for at most 30 s.
func (n *node) eventually(what string, test func() error) {
	n.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := test()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("not true within 30 s: %s: %v", what, err)
		}
		<-time.After(10 * time.Millisecond) // between two questions
	}
}

// cli runs postern with args against the node and returns its output.
func (n *node) cli(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append(args, "--data", n.file("data"))...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("postern %s: %w: %s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// mustCLI is cli for what has to work.
func (n *node) mustCLI(args ...string) string {
	n.t.Helper()
	out, err := n.cli(args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// received is what `postern demo inbox --json` says of one message.
type received struct {
	Number     int      `json:"number"`
	ID         string   `json:"id"`
	Reverse    string   `json:"reverse_path"`
	Recipients []string `json:"forward_paths"`
	Subject    string   `json:"subject"`
	TLS        string   `json:"tls"`
	Content    string   `json:"content"`
}

// inbox lists what the sample server got, with content.
func (n *node) inbox() ([]received, error) {
	out, err := n.cli("demo", "inbox", "--json", "--content", "--limit", "2000")
	if err != nil {
		return nil, err
	}
	var list []received
	decoder := json.NewDecoder(strings.NewReader(out))
	for decoder.More() {
		var r received
		if err := decoder.Decode(&r); err != nil {
			return nil, fmt.Errorf("%w in %q", err, out)
		}
		list = append(list, r)
	}
	return list, nil
}

// arrives waits for a message that is wanted.
func (n *node) arrives(what string, want func(received) bool) received {
	n.t.Helper()
	var found received
	n.eventually(what+" is in the demo inbox", func() error {
		list, err := n.inbox()
		if err != nil {
			return err
		}
		for _, r := range list {
			if want(r) {
				found = r
				return nil
			}
		}
		return fmt.Errorf("%d others are", len(list))
	})
	return found
}

// password reads alice's.
func (n *node) password() string {
	n.t.Helper()
	b, err := os.ReadFile(n.file("data/demo/alice.password"))
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func tail(s string, octets int) string { return s[max(0, len(s)-octets):] }
