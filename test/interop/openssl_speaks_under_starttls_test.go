package interop_test

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/postern-mail/postern/internal/drill/oracle"
	"github.com/postern-mail/postern/test/harness"
)

func TestOpenSSLSpeaksUnderSTARTTLS(t *testing.T) {
	need(t, false, "openssl")
	sink := harness.Sink(t, oracle.SinkConfig{Keep: true})
	node := startPostern(t, sink.Addr(), "", "")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run(version[1:], func(t *testing.T) {
			cmd := exec.CommandContext(harness.Context(t), "openssl", "s_client", "-starttls", "smtp", "-connect", node.SMTP, "-quiet", "-crlf", version)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(out)
			to := version[1:] + "@" + domain
			// -starttls has said EHLO already and left its last reply line to us.
			for _, step := range []struct{ say, want string }{
				{"EHLO client.test", "250"},
				{"MAIL FROM:<x@else.test>", "250 2.1.0"},
				{"RCPT TO:<" + to + ">", "250 2.1.5"},
				{"DATA", "354"},
				{"Subject: tls\n\nunder TLS\n.", "250 2.0.0"},
				{"QUIT", "221"},
			} {
				dialogue(t, r, in, step.say, step.want)
			}
			_ = in.Close()
			_ = cmd.Wait() // s_client's status says nothing about the dialogue
			waitCount(t, sink, to, 1)
		})
	}
	for _, content := range sink.Kept() {
		if !strings.Contains(string(content), "with ESMTPS ") {
			t.Errorf("Received does not say ESMTPS:\n%s", content)
		}
	}
}

// dialogue says a line and reads until the last line of a reply with the
// wanted code; lines of an older reply are passed over.
func dialogue(t *testing.T, r *bufio.Reader, w io.Writer, say, want string) {
	t.Helper()
	if _, err := io.WriteString(w, say+"\n"); err != nil {
		t.Fatalf("%s: %v", say, err)
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", say, err)
		}
		if strings.HasPrefix(line, want) && (len(want) > 3 || line[3] == ' ') && !(say[:4] == "EHLO" && strings.HasPrefix(line, "250 ") && strings.Contains(line, "2.0.0")) {
			return
		}
		if line[0] == '5' || line[0] == '4' {
			t.Fatalf("after %q: %s", say, line)
		}
	}
}
