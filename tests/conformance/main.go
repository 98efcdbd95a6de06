// Conformance is a black-box suite for OAuth endpoints that serve RFC 8693. It
// knows nothing of Cambist: whatever server a profile describes is asked over
// HTTP and its answers are held against the standards, each case under the id of
// one item of the checklist. README.md says how to point it at another server.
//
//	go run ./tests/conformance --issuer https://as.example --profile profile.yaml
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Stdout, os.Args[1:])
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "conformance:", err)
	if errors.Is(err, errFailed) {
		os.Exit(1) //nolint:gocritic // the process ends, and stop with it
	}
	os.Exit(2) // nothing is known of the server
}

// errFailed is returned when a case failed: the server is reachable, and wrong.
var errFailed = errors.New("the server does not conform")

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	issuer := flags.String("issuer", "", "issuer identifier of the server, as it stands in its metadata")
	path := flags.String("profile", "", "YAML file that says what the server has")
	only := flags.String("only", "", "ids of the cases to run, separated by commas; all without")
	asJSON := flags.Bool("json", false, "print a JSON object instead of a table")
	list := flags.Bool("list", false, "print the cases and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *list {
		for _, c := range cases() {
			fmt.Fprintf(out, "%-6s %s\n", c.id, c.title)
		}
		return nil
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	profile, err := loadProfile(ctx, *path)
	if err != nil {
		return err
	}
	s, err := newSuite(ctx, *issuer, profile)
	if err != nil {
		return err
	}
	report := s.run(ctx, chosen)
	if *asJSON {
		err = report.writeJSON(out)
	} else {
		report.writeTable(out)
	}
	if err == nil && report.Failed > 0 {
		err = fmt.Errorf("%d of %d cases failed: %w", report.Failed, len(report.Results), errFailed)
	}
	return err
}

// choose returns the cases with the given ids, all for none.
func choose(ids string) ([]testCase, error) {
	all := cases()
	if ids == "" {
		return all, nil
	}
	var chosen []testCase
	for id := range strings.SplitSeq(ids, ",") {
		found := false
		for _, c := range all {
			if c.id == id {
				chosen, found = append(chosen, c), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no case %q; --list prints those there are", id)
		}
	}
	return chosen, nil
}
