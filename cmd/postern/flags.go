package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/postern-mail/postern/internal/control"
	"github.com/postern-mail/postern/internal/node"
)

// callTimeout bounds a question to the node that should be quick. Chosen.
const callTimeout = time.Minute

// nodeFlags are the flags that configure a node. Every leaf can be given with
// --set; those below have a flag of their own.
type nodeFlags struct {
	Config string `short:"c" placeholder:"FILE" env:"POSTERN_CONFIG" help:"Node file; without it ./postern.yaml if it exists."`

	Data                    string   `placeholder:"DIR" help:"Data directory."`
	Tenants                 string   `placeholder:"FILE" help:"File of tenants."`
	Hostname                string   `placeholder:"NAME" help:"Name of this node."`
	ListenSMTP              string   `name:"listen-smtp" placeholder:"ADDRS" help:"SMTP listeners, with commas; none for none."`
	ListenSMTPProxied       string   `name:"listen-smtp-proxied" placeholder:"ADDRS" help:"SMTP listeners behind the PROXY protocol."`
	ListenSubmission        string   `placeholder:"ADDRS" help:"Submission listeners."`
	ListenSubmissionProxied string   `placeholder:"ADDRS" help:"Submission listeners behind the PROXY protocol."`
	ListenHTTP              string   `name:"listen-http" placeholder:"ADDRS" help:"HTTP listeners: /healthz, /readyz."`
	ListenMetrics           string   `placeholder:"ADDRS" help:"Prometheus listeners: /metrics."`
	ListenDemo              string   `placeholder:"ADDRS" help:"Sample customer's server, with --demo."`
	TLSCertificate          string   `name:"tls-certificate" placeholder:"FILE" help:"Certificate chain, PEM."`
	TLSKey                  string   `name:"tls-key" placeholder:"FILE" help:"Its private key, PEM."`
	LogLevel                string   `placeholder:"LEVEL" help:"debug, info, warn or error."`
	LogFormat               string   `placeholder:"FORMAT" help:"text or json."`
	Set                     []string `sep:"none" placeholder:"PATH=VALUE" help:"Any setting, such as --set limits.content=20MiB. Repeatable."`
}

// settings returns what was given, --set first, so that a flag of its own wins.
func (f *nodeFlags) settings() ([]node.Setting, error) {
	var all []node.Setting
	for _, pair := range f.Set {
		path, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, usageError(fmt.Sprintf("--set %s: want path=value", pair))
		}
		all = append(all, node.Setting{Path: path, Value: value, From: "--set " + path})
	}
	for _, flag := range []node.Setting{
		{Path: "data", Value: f.Data, From: "--data"},
		{Path: "tenants", Value: f.Tenants, From: "--tenants"},
		{Path: "hostname", Value: f.Hostname, From: "--hostname"},
		{Path: "listen.smtp", Value: f.ListenSMTP, From: "--listen-smtp"},
		{Path: "listen.smtp_proxied", Value: f.ListenSMTPProxied, From: "--listen-smtp-proxied"},
		{Path: "listen.submission", Value: f.ListenSubmission, From: "--listen-submission"},
		{Path: "listen.submission_proxied", Value: f.ListenSubmissionProxied, From: "--listen-submission-proxied"},
		{Path: "listen.http", Value: f.ListenHTTP, From: "--listen-http"},
		{Path: "listen.metrics", Value: f.ListenMetrics, From: "--listen-metrics"},
		{Path: "listen.demo", Value: f.ListenDemo, From: "--listen-demo"},
		{Path: "tls.certificate", Value: f.TLSCertificate, From: "--tls-certificate"},
		{Path: "tls.key", Value: f.TLSKey, From: "--tls-key"},
		{Path: "log.level", Value: f.LogLevel, From: "--log-level"},
		{Path: "log.format", Value: f.LogFormat, From: "--log-format"},
	} {
		if flag.Value != "" {
			all = append(all, flag)
		}
	}
	return all, nil
}

// load reads the node's configuration and prints what was ignored. machine, when
// not nil, names a node without a hostname.
func (f *nodeFlags) load(a *app, machine func() (string, error)) (*node.Loaded, error) {
	settings, err := f.settings()
	if err != nil {
		return nil, err
	}
	loaded, err := node.Load(node.Options{File: f.Config, Environ: a.environ, Settings: settings, Machine: machine})
	if err != nil {
		return nil, err
	}
	for _, warning := range loaded.Warnings {
		fmt.Fprintln(a.stderr, "postern: warning:", warning)
	}
	return loaded, nil
}

// dirFlags say on which data directory the node runs that is asked.
type dirFlags struct {
	Data   string `placeholder:"DIR" env:"POSTERN_DATA" help:"Data directory of the node."`
	Config string `short:"c" placeholder:"FILE" env:"POSTERN_CONFIG" help:"Node file that names it; without it ./postern.yaml if it exists."`
}

// dir returns the data directory. The node file is only read when nothing
// nearer names it, so that a broken file does not keep anyone from looking.
func (f *dirFlags) dir(a *app) (string, error) {
	if f.Data != "" {
		return f.Data, nil
	}
	loaded, err := node.Load(node.Options{File: f.Config, Environ: a.environ})
	if err != nil {
		return "", fmt.Errorf("which data directory? %w", err)
	}
	return loaded.Config.Data, nil
}

// dial connects to the node.
func (f *dirFlags) dial(a *app) (*control.Client, error) {
	dir, err := f.dir(a)
	if err != nil {
		return nil, err
	}
	return control.Dial(a.ctx, dir)
}

// ask connects, makes one call with one reply and disconnects.
func ask[Resp any](a *app, f *dirFlags, call string, req any, timeout time.Duration) (Resp, error) {
	var none Resp
	client, err := f.dial(a)
	if err != nil {
		return none, err
	}
	defer client.Close()
	ctx := a.ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return control.Ask[Resp](ctx, client, call, req)
}

// usageError is about the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

// ExitCode is the exit status.
func (e usageError) ExitCode() int { return exitUsage }
