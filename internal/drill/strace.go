package drill

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// call is one system call that strace saw. Its begin and end are line numbers:
// strace prints the entry and the exit of a call in the order in which they
// happened.
type call struct {
	name       string
	file       string // path or socket of the first argument, as strace -yy prints it
	args       string
	begin, end int
	ok         bool
	injected   bool
}

// trace is what strace wrote, in order of entry.
type trace struct {
	calls []*call
	// dsync are files that were opened so that every write is synced.
	dsync map[string]bool
}

// readTrace parses the output of strace -f -yy. Calls that never returned have
// end 0 and are not ok.
func readTrace(r io.Reader) (*trace, error) {
	t := &trace{dsync: map[string]bool{}}
	pending := map[string]*call{}
	in := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if line != "" {
			t.line(n, strings.TrimRight(line, "\n"), pending)
		}
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read strace's output: %w", err)
		}
	}
}

func (t *trace) line(n int, line string, pending map[string]*call) {
	pid, rest, ok := strings.Cut(line, " ")
	if !ok {
		return
	}
	rest = strings.TrimLeft(rest, " ")
	if strings.HasPrefix(rest, "<... ") {
		if c := pending[pid]; c != nil {
			delete(pending, pid)
			t.finish(c, n, rest)
		}
		return
	}
	name, args, ok := strings.Cut(rest, "(")
	if !ok || strings.ContainsAny(name, " <+-") {
		return // a signal, an exit
	}
	c := &call{name: name, begin: n, args: args, file: firstFile(args)}
	t.calls = append(t.calls, c)
	if strings.HasSuffix(args, "<unfinished ...>") {
		pending[pid] = c
		return
	}
	t.finish(c, n, args)
}

var result = regexp.MustCompile(`\) += (-?\d+)(<(.*)>)?( [A-Z].*)?$`)

func (t *trace) finish(c *call, n int, tail string) {
	c.end = n
	c.injected = strings.HasSuffix(tail, "(INJECTED)")
	m := result.FindStringSubmatch(tail[max(0, len(tail)-600):])
	if m == nil {
		return
	}
	c.ok = !strings.HasPrefix(m[1], "-")
	if c.name == "openat" && c.ok && (strings.Contains(c.args, "O_DSYNC") || strings.Contains(c.args, "O_SYNC")) {
		t.dsync[m[3]] = true
	}
}

// firstFile returns what -yy put behind the first descriptor.
func firstFile(args string) string {
	digits := strings.TrimLeft(args, "0123456789")
	if digits == args || !strings.HasPrefix(digits, "<") {
		return ""
	}
	if i := strings.Index(digits, ">, "); i > 0 {
		return digits[1:i]
	}
	return strings.TrimSuffix(strings.TrimRight(strings.TrimSuffix(cutResult(digits), " <unfinished ...>"), ") "), ">")[1:]
}

// cutResult drops ") = 0" from a call with one argument.
func cutResult(s string) string {
	if i := strings.Index(s, ">) "); i >= 0 {
		return s[:i+1]
	}
	return s
}

// tracer is a strace that is attached to a running node.
type tracer struct {
	cmd    *exec.Cmd
	output string
	errors bytes.Buffer
}

// attach runs strace on the process and returns when it traces all threads.
func attach(ctx context.Context, pid int, output string, flags ...string) (*tracer, error) {
	t := &tracer{output: output}
	args := append([]string{"-f", "-yy", "-o", output, "-p", itoa(pid)}, flags...)
	t.cmd = exec.Command("strace", args...)
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	notes, err := t.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("attach strace: %w", err)
	}
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("attach strace: %w", err)
	}
	attached := make(chan bool, 1)
	go func() { // ends with strace's standard error
		in := bufio.NewScanner(notes)
		for in.Scan() {
			t.errors.WriteString(in.Text() + "\n")
			if strings.Contains(in.Text(), "attached") {
				select {
				case attached <- true:
				default:
				}
			}
		}
		close(attached)
	}()
	select {
	case ok := <-attached:
		if ok {
			return t, nil
		}
		_ = t.cmd.Wait()
		return nil, fmt.Errorf("attach strace to %d: %s", pid, t.errors.String())
	case <-time.After(10 * time.Second):
	case <-ctx.Done():
	}
	t.detach()
	return nil, fmt.Errorf("strace did not attach to %d in time", pid)
}

// detach lets the process run on untraced.
func (t *tracer) detach() {
	_ = t.cmd.Process.Signal(os.Interrupt)
	_ = t.cmd.Wait() // strace ends with the signal's status
}
