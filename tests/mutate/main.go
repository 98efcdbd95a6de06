// Mutate proves that each check of Decide is missed by a test when it is gone.
//
// It takes one entry of the check table at a time, lets it hold always, and runs
// the tests of the package over that source (go test -overlay): nothing in the
// product can switch a check off. It prints a line for each check, with the test
// that noticed, and fails if none did.
//
//	go run ./tests/mutate
//	go run ./tests/mutate --only 12
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	var l lane
	flag.StringVar(&l.dir, "dir", ".", "root of the module")
	flag.StringVar(&l.file, "file", "broker/checks.go", "file with the table, below the root")
	flag.StringVar(&l.table, "table", "checks", "name of the table")
	args := flag.String("args", "-rapid.nofailfile", "more arguments of go test, separated by spaces; a property that fails here leaves no file")
	only := flag.Int("only", -1, "index of the one check to disable; all without")
	flag.Parse()
	l.args = strings.Fields(*args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := l.run(ctx, os.Stdout, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1) //nolint:gocritic // the process ends, and stop with it
	}
}

// run disables the checks one by one. Before that the tests must pass as they
// are, for a test that always fails notices everything.
func (l *lane) run(ctx context.Context, out io.Writer, only int) error {
	source, err := os.ReadFile(filepath.Join(l.dir, l.file))
	if err != nil {
		return err
	}
	checks, err := find(source, l.table)
	if err != nil {
		return fmt.Errorf("%s: %w", l.file, err)
	}
	if only >= len(checks) {
		return fmt.Errorf("there are %d checks", len(checks))
	}
	killer, err := l.test(ctx, source)
	if err == nil && killer != "" {
		err = fmt.Errorf("%s fails before anything is disabled", killer)
	}
	if err != nil {
		return err
	}
	survived := 0
	for i, c := range checks {
		if only >= 0 && i != only {
			continue
		}
		if killer, err = l.test(ctx, c.disable(source)); err != nil {
			return fmt.Errorf("%d %s: %w", i, c.name, err)
		}
		if killer == "" {
			survived++
			fmt.Fprintf(out, "%2d  SURVIVED  %s\n", i, c.name)
			continue
		}
		fmt.Fprintf(out, "%2d  killed    %-28s by %s\n", i, c.name, killer)
	}
	if survived > 0 {
		return fmt.Errorf("%d: %w", survived, errSurvived)
	}
	return nil
}

var errSurvived = errors.New("no test misses these checks")
