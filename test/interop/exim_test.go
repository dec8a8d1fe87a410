package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

const eximConf = `exim_path = %[1]s
spool_directory = %[2]s/spool
log_file_path = %[2]s/log/%%slog
pid_file_path = %[2]s/exim.pid
primary_hostname = exim.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[3]d
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
host_lookup =
rfc1413_query_timeout = 0s
smtputf8_advertise_hosts =
acl_smtp_rcpt = accept
acl_smtp_data = accept
never_users =
deliver_drop_privilege
local_from_check = false
dns_dnssec_ok = 0
keep_environment =
%[5]s
begin acl
accept:
  accept
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = next
begin transports
next:
  driver = smtp
  port = %[4]d
  allow_localhost
  hosts_try_dane =
%[6]s
begin retry
* * F,2h,1s
`

// eximPlain is the main part of a daemon without TLS.
const eximPlain = "tls_advertise_hosts =\nchunking_advertise_hosts = *\n"

// startExim starts a daemon of its own that relays everything to the port, and
// returns its address. main and transport are put into those parts of its
// configuration; main is eximPlain unless it says who is offered TLS and CHUNKING.
func startExim(t *testing.T, relayTo int, main, transport string) string {
	t.Helper()
	exim := eximBinary(t)
	dir, port := openDir(t), freePort(t)
	for _, d := range []string{"/spool", "/log"} {
		if err := os.MkdirAll(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The unpacked binary may lie where Exim's own user can't go.
	mustRun(t, "", "cp", exim, dir+"/exim4")
	mustRun(t, "", "chown", "-R", "Debian-exim:", dir)
	exim = dir + "/exim4"
	conf := filepath.Join(dir, "exim.conf")
	write(t, conf, fmt.Sprintf(eximConf, exim, dir, port, relayTo, main, transport), 0o644)
	log := func() string {
		b, _ := os.ReadFile(dir + "/log/mainlog")
		p, _ := os.ReadFile(dir + "/log/paniclog")
		return string(b) + string(p)
	}
	// Root with -C keeps root, which the deliveries need. -bdf stays in the
	// foreground, so the child is the daemon.
	cmd := exec.Command(exim, "-C", conf, "-bdf", "-q1s")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // its status is that of SIGTERM
		// Deliveries are processes of their own in the group that Setpgid made.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		if t.Failed() {
			s := log()
			t.Logf("Exim's log ends:\n%s", s[max(0, len(s)-3000):])
		}
	})
	addr := "127.0.0.1:" + strconv.Itoa(port)
	waitPort(t, addr, log)
	return addr
}

// eximBinary finds the Exim that test/deps.sh unpacked.
func eximBinary(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("POSTERN_TEST_PEERS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("no cache directory: %v", err)
		}
		dir = filepath.Join(cache, "postern-test-peers")
	}
	exim := filepath.Join(dir, "exim/usr/sbin/exim4")
	need(t, true, exim)
	if _, err := user.Lookup("Debian-exim"); err != nil {
		t.Fatalf("Exim's user does not exist: run test/deps.sh: %v", err)
	}
	return exim
}
