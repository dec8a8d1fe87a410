package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// peer is one server under test with a sink of its own behind it.
type peer struct {
	name string
	port int // where smtp-source sends
	sink *sink
	root int // process ID at the top of the server's tree; 0 for the bare sink
	stop func()
	// metrics is Postern's metrics address, "" for others.
	metrics string
}

// freePorts asks the kernel for n different loopback ports that nobody holds.
func freePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // at the end: none is given twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// waitPort returns when something accepts on port, or the error after limit.
func waitPort(ctx context.Context, port int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("port %d never opened: %w", port, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// sink is a running smtp-sink whose counter is read from its output file.
type sink struct {
	port int
	file string
	cmd  *exec.Cmd
}

func startSink(ctx context.Context, dir string) (*sink, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	port := ports[0]
	s := &sink{port: port, file: filepath.Join(dir, fmt.Sprintf("sink-%d", port))}
	out, err := os.Create(s.file)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	s.cmd = exec.Command("smtp-sink", "-c", fmt.Sprintf("127.0.0.1:%d", port), "1024")
	s.cmd.Stdout = out
	if os.Geteuid() == 0 {
		s.cmd.Args = append([]string{"smtp-sink", "-u", "nobody"}, s.cmd.Args[1:]...)
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, waitPort(ctx, port, 5*time.Second)
}

// count is the number of messages that the sink has taken. smtp-sink writes
// "sess=N quit=N mesg=N\r" after each.
func (s *sink) count() int {
	b, err := tail(s.file, 200)
	if err != nil {
		return 0
	}
	parts := bytes.Split(b, []byte("\r"))
	for i := len(parts) - 2; i >= 0; i-- {
		_, after, ok := bytes.Cut(parts[i], []byte("mesg="))
		if n, err := strconv.Atoi(string(bytes.TrimSpace(after))); ok && err == nil {
			return n
		}
	}
	return 0
}

func (s *sink) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func tail(name string, n int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	off := max(0, st.Size()-n)
	b := make([]byte, st.Size()-off)
	_, err = f.ReadAt(b, off)
	return b, err
}

func startPeer(ctx context.Context, name string, o options) (*peer, error) {
	s, err := startSink(ctx, o.dir)
	if err != nil {
		return nil, err
	}
	switch name {
	case "sink":
		return &peer{name: name, port: s.port, sink: s, stop: s.stop}, nil
	case "postfix":
		return startPostfix(ctx, o, s)
	case "postern":
		return startPostern(ctx, o, s)
	}
	return nil, fmt.Errorf("%q: want sink, postfix or postern", name)
}

const posternYAML = `hostname: gw.test
`

const tenantsYAML = `tenants:
  - id: bench
    name: Bench
    domains:
      - name: sink.test
        any: true
        next_hop:
          hosts: ["127.0.0.1:%d"]
`

func startPostern(ctx context.Context, o options, s *sink) (*peer, error) {
	dir := filepath.Join(o.dir, "postern")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	conf, tenants := filepath.Join(dir, "postern.yaml"), filepath.Join(dir, "tenants.yaml")
	if err := os.WriteFile(conf, []byte(posternYAML), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(tenants, fmt.Appendf(nil, tenantsYAML, s.port), 0o600); err != nil {
		return nil, err
	}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	cmd := exec.Command(o.postern, "serve", "--config", conf, "--data", filepath.Join(dir, "data"), "--tenants", tenants,
		"--listen-smtp", addr(0), "--listen-submission", addr(1), "--listen-http", addr(2), "--listen-metrics", addr(3))
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &peer{name: "postern", port: ports[0], sink: s, root: cmd.Process.Pid, metrics: addr(3)}
	p.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		s.stop()
	}
	if err := waitPort(ctx, p.port, 10*time.Second); err != nil {
		p.stop()
		b, _ := tail(logFile.Name(), 2000)
		return nil, fmt.Errorf("postern: %w\n%s", err, b)
	}
	return p, nil
}

// mainCF relays one domain to the sink and asks nobody anything: no DNS, no
// reverse lookup, no aliases.
const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
myhostname = gw.test
mydestination =
mynetworks = 127.0.0.1/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
relay_domains = sink.test
relay_recipient_maps =
transport_maps = inline:{ sink.test=smtp:[127.0.0.1]:%[2]d }
smtpd_relay_restrictions = reject_unauth_destination
alias_maps =
alias_database =
smtputf8_enable = no
maillog_file = %[1]s/maillog
maillog_file_prefixes = /
`

const masterCF = `127.0.0.1:%d inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
`

func startPostfix(ctx context.Context, o options, s *sink) (*peer, error) {
	abs, err := filepath.Abs(filepath.Join(o.dir, "postfix"))
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	port := ports[0]
	etc := filepath.Join(abs, "etc")
	for _, d := range []string{etc, abs + "/spool", abs + "/data"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if out, err := exec.Command("chown", "postfix", abs+"/data").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("chown %s/data: %w: %s", abs, err, out)
	}
	err = errors.Join(
		os.WriteFile(etc+"/main.cf", fmt.Appendf(nil, mainCF, abs, s.port), 0o644),
		os.WriteFile(etc+"/master.cf", fmt.Appendf(nil, masterCF, port), 0o644))
	if err != nil {
		return nil, err
	}
	_ = exec.Command("postfix", "-c", etc, "check").Run() // makes the queue directories; its warnings are about ownership
	cmd := exec.Command("/usr/lib/postfix/sbin/master", "-c", etc, "-d")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &peer{name: "postfix", port: port, sink: s, root: cmd.Process.Pid}
	p.stop = func() {
		if pid, err := os.ReadFile(abs + "/spool/pid/master.pid"); err == nil {
			if n, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil {
				_ = syscall.Kill(n, syscall.SIGTERM)
			}
		}
		_ = cmd.Wait()
		s.stop()
	}
	if err := waitPort(ctx, port, 10*time.Second); err != nil {
		p.stop()
		b, _ := tail(abs+"/maillog", 2000)
		return nil, fmt.Errorf("postfix: %w\n%s", err, b)
	}
	return p, nil
}
