package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-mail/postern/test/harness"
)

// postfixMain relays all mail to one host and asks nobody anything.
const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
relayhost = [127.0.0.1]:%[2]d
smtpd_relay_restrictions = permit_mynetworks, reject
alias_maps =
alias_database =
smtputf8_enable = yes
smtp_line_length_limit = 0
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
maillog_file = %[1]s/maillog
maillog_file_prefixes = /
`

const postfixMaster = `127.0.0.1:%d inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
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

// startPostfix starts an instance of its own that relays everything to the
// port, and returns the address of its smtpd. extra is put into its main.cf.
func startPostfix(t *testing.T, relayTo int, extra string) string {
	t.Helper()
	need(t, true, "/usr/lib/postfix/sbin/master", "postfix")
	dir, port := openDir(t), freePort(t)
	etc := filepath.Join(dir, "etc")
	write(t, etc+"/main.cf", fmt.Sprintf(postfixMain, dir, relayTo)+extra, 0o644)
	write(t, etc+"/master.cf", fmt.Sprintf(postfixMaster, port), 0o644)
	for _, d := range []string{"/spool", "/data"} {
		if err := os.MkdirAll(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, "", "chown", "postfix", dir+"/data")
	_, _ = run(t, "", "postfix", "-c", etc, "check") // makes the queue's directories; its warnings are about ownership
	log := func() string { b, _ := os.ReadFile(dir + "/maillog"); return string(b) }
	cmd := exec.Command("/usr/lib/postfix/sbin/master", "-c", etc, "-d")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stopPostfix(t, dir, cmd)
		if t.Failed() {
			s := log()
			t.Logf("Postfix's log ends:\n%s", s[max(0, len(s)-3000):])
		}
	})
	addr := "127.0.0.1:" + strconv.Itoa(port)
	waitPort(t, addr, log)
	return addr
}

// stopPostfix ends the master by the process ID in its own lock file; its
// children end with it.
func stopPostfix(t *testing.T, dir string, cmd *exec.Cmd) {
	if b, err := os.ReadFile(dir + "/spool/pid/master.pid"); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				t.Logf("stop Postfix: %v", err)
			}
		}
	}
	_ = cmd.Wait() // its status is that of SIGTERM
}

// postfixTLS makes smtpd offer, or with level "encrypt" demand, STARTTLS.
func postfixTLS(t *testing.T, level string) string {
	t.Helper()
	cert, key := harness.Certificate(t, openDir(t), "postfix.test")
	return fmt.Sprintf("smtpd_tls_security_level = %s\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n", level, cert, key)
}
