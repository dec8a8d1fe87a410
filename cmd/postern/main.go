// Command postern is the email security gateway and the hand that works it.
//
// Exit status: 0 done; 1 done, and the answer is bad news (problems in a
// file, a ledger that does not balance, a drill that failed, nothing found) or
// something went wrong; 3 a drill's control arm passed, so the drill proves
// nothing; 64 the command line makes no sense; 69 no node answers.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/postern-mail/postern/internal/control"
)

// The exit statuses; 64 and 69 are those of sysexits.h, 130 is a shell's word for
// Ctrl-C.
const (
	exitBadNews     = 1
	exitUsage       = 64
	exitUnavailable = 69
	exitInterrupted = 130
)

const description = `Postern takes mail in, keeps it safe, and passes it on.

Exit status: 0 done, 1 bad news or an error, 3 a drill proves nothing, 64 wrong command line, 69 no node answers.`

type cli struct {
	Serve    serveCmd    `cmd:"" help:"Run the node until SIGTERM or SIGINT."`
	Trace    traceCmd    `cmd:"" help:"Tell what happened to a message."`
	Queue    queueCmd    `cmd:"" help:"Show what waits for delivery."`
	Audit    auditCmd    `cmd:"" help:"Recount the ledger: is every recipient accounted for?"`
	Reload   reloadCmd   `cmd:"" help:"Read tenants and certificates again, without a restart."`
	Health   healthCmd   `cmd:"" help:"Ask whether the node is ready, and why not."`
	Stop     stopCmd     `cmd:"" help:"Stop the node: doors first, then drain."`
	Node     nodeCmd     `cmd:"" help:"Check and show the node's own configuration."`
	Password passwordCmd `cmd:"" help:"Make the hash of a password for tenants.yaml."`
	Demo     demoCmd     `cmd:"" help:"Look at the sample customer's server of serve --demo."`
	Drill    drillCmd    `cmd:"" help:"Practise disasters on the real binary."`
	Version  versionCmd  `cmd:"" help:"Say what this program was built from."`
}

// app is what commands work with.
type app struct {
	ctx     context.Context
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	environ []string
	now     func() time.Time
	zone    *time.Location // the reader's
	color   bool
}

// badNews is an error whose words were already printed as the answer.
type badNews struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once, whatever it waits for.
	context.AfterFunc(ctx, stop)
	a := &app{
		ctx: ctx, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(),
		now: time.Now, zone: time.Local, color: wantsColor(os.Stdout, os.LookupEnv),
	}
	status := a.run(os.Args[1:])
	stop()
	os.Exit(status)
}

// run parses and runs one command and returns the exit status.
func (a *app) run(args []string) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c, kong.Name("postern"), kong.Description(description),
		kong.Writers(a.stdout, a.stderr), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: width}),
		kong.Exit(func(status int) { exited = status }), kong.Bind(a))
	if err != nil {
		fmt.Fprintln(a.stderr, "postern:", err)
		return exitBadNews
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help was printed
		return exited
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "postern: %v\nTry: postern --help\n", err)
		return exitUsage
	}
	return a.report(parsed.Run(a))
}

// report prints err, unless it was printed, and chooses the exit status.
func (a *app) report(err error) int {
	var printed badNews
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &printed):
	default:
		fmt.Fprintln(a.stderr, "postern:", err)
	}
	switch {
	case errors.As(err, &coded):
		return coded.ExitCode()
	case errors.Is(err, control.ErrNoNode):
		return exitUnavailable
	}
	return exitBadNews
}
