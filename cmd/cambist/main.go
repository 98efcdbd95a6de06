// Command cambist is the server and the command line of Cambist: it issues
// short-lived OAuth access tokens to workloads that prove who they are, writes
// policy, and explains every decision it recorded.
//
// Settings come from flags, then the environment (CAMBIST_…), then the file that
// --config names, then defaults. Data goes to stdout, messages to stderr. Exit
// codes: 0 ok, 1 a local fault (flags, files, validation), 2 a remote one
// (database, network), 3 denied, or a difference where none was to be.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/dev"
	"github.com/cambist/cambist/clients/exchange"
)

// Exit codes (design 12).
const (
	exitOK     = 0
	exitLocal  = 1
	exitRemote = 2
	exitDenied = 3
)

// version is set by the linker for a release.
var version string

// cli is the grammar. Verbs stand in three groups, in the order in which people
// meet them.
type cli struct {
	Config kong.ConfigFlag `help:"YAML file with settings, by the same names as the flags of serve." placeholder:"PATH" type:"path" env:"CAMBIST_CONFIG"`

	Demo    demoCmd    `cmd:"" group:"try" help:"Play the whole story in some seconds, with what really happens, and leave nothing behind."`
	Dev     devCmd     `cmd:"" group:"try" help:"Run everything on one machine, and make certificates and tokens to try it with."`
	Token   tokenCmd   `cmd:"" group:"try" help:"Get a token as a workload, the way a service does."`
	Whoami  whoamiCmd  `cmd:"" group:"try" help:"Print who the broker takes this workload for, and what it may ask for."`
	Version versionCmd `cmd:"" group:"try" help:"Print the version and what it was built with."`

	Lint   lintCmd   `cmd:"" group:"policy" help:"Check policy files without a server."`
	Test   testCmd   `cmd:"" group:"policy" help:"Decide given cases on policy files, without a server, and compare with what is expected; exit code 3 if any differs."`
	Plan   planCmd   `cmd:"" group:"policy" help:"Print what policy files would change in a store; exit code 3 if anything."`
	Apply  applyCmd  `cmd:"" group:"policy" help:"Write policy files to a store, past the admin API (break-glass; recorded)."`
	Export exportCmd `cmd:"" group:"policy" help:"Print the policy of a store as files."`
	Why    whyCmd    `cmd:"" group:"policy" help:"Explain a recorded decision: what matched, what did not, what would allow it."`

	Serve    serveCmd    `cmd:"" group:"run" help:"Run the server."`
	Migrate  migrateCmd  `cmd:"" group:"run" help:"Create or upgrade the schema of a store."`
	Validate validateCmd `cmd:"" group:"run" help:"Check the settings of serve and print them with where each came from."`
	Block    blockCmd    `cmd:"" group:"run" help:"Stop a workload, subject, issuer, key, mapping or token at once (break-glass; recorded)."`
	Unblock  unblockCmd  `cmd:"" group:"run" help:"Lift a block."`
	Records  recordsCmd  `cmd:"" group:"run" help:"Read the record of decisions."`
}

// app is what every verb gets: where to write, and the context that ends with
// the first interrupt.
type app struct {
	ctx    context.Context
	stdout *output
	stderr io.Writer
}

// output remembers the first error, so that no verb says it did what never
// reached the file or pipe that it was to go to.
type output struct {
	io.Writer
	err error
}

// Write writes, unless that failed before.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.Writer.Write(p)
	o.err = err
	return n, err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it, so that tests call what users run.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var grammar cli
	exited := -1
	file := &settingsFile{}
	parser, err := kong.New(&grammar,
		kong.Name("cambist"),
		kong.Description("Tokens for workloads: proof of identity in, short-lived narrow OAuth token out."),
		kong.DefaultEnvars("CAMBIST"),
		kong.Configuration(file.load),
		kong.Vars{"hostname": hostname(), "data": devFolder(), "ca": filepath.Join(devFolder(), dev.CAFolder), "domain": dev.Domain},
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "try", Title: "Try:"}, {Key: "policy", Title: "Policy:"}, {Key: "run", Title: "Run:"},
		}),
	)
	if err != nil {
		return fail(stderr, err)
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help has printed what was asked for
	}
	if err == nil {
		err = file.unknown(parser.Model)
	}
	if err != nil {
		fmt.Fprintf(stderr, "cambist: %v (try: cambist --help)\n", err)
		return exitLocal
	}
	file.parsed = parsed
	a := &app{ctx: ctx, stdout: &output{Writer: stdout}, stderr: stderr}
	err = parsed.Run(a, file)
	if err == nil && a.stdout.err != nil {
		err = fmt.Errorf("write the answer: %w", a.stdout.err)
	}
	if err != nil {
		return fail(stderr, err)
	}
	return exitOK
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// exitError is an error that has been printed already, with its exit code.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// remoteError is an error of something that is not this process.
type remoteError struct{ err error }

func (e remoteError) Error() string { return e.err.Error() }
func (e remoteError) Unwrap() error { return e.err }

// remote marks err as remote; nil stays nil.
func remote(err error) error {
	if err == nil {
		return nil
	}
	return remoteError{err}
}

// fail prints an error and returns its exit code. What a store or a server says
// is remote, everything else is local.
func fail(stderr io.Writer, err error) int {
	var done exitError
	if errors.As(err, &done) {
		return done.code
	}
	fmt.Fprintf(stderr, "cambist: %v\n", err)
	var asked *exchange.Error
	if errors.Is(err, exchange.ErrRefused) {
		return exitDenied
	} else if errors.As(err, &asked) {
		return exitRemote
	}
	var far remoteError
	var coded *broker.Error
	if errors.As(err, &far) || errors.As(err, &coded) {
		return exitRemote
	}
	return exitLocal
}
