package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cambist/cambist/broker/plan"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/server"
)

// policyFlags are what policy must know of the server that it is for.
type policyFlags struct {
	Issuer       string   `help:"Issuer URL of the server; an audience that is this names the broker." placeholder:"URL"`
	OwnAudiences []string `help:"More audiences that name the broker, beside the issuer and cambist." placeholder:"AUD"`
}

func (p *policyFlags) options() policy.Options {
	return policy.Options{Issuer: p.Issuer, OwnAudiences: p.OwnAudiences, Now: time.Now}
}

// fileFlags are the policy files of a verb.
type fileFlags struct {
	Files []string `short:"f" name:"file" required:"" help:"Policy file, folder of them (*.yaml, *.yml, *.json), or - for standard input; may repeat." placeholder:"PATH"`
}

// read parses every file. Findings of what could be read come with it, errors
// of files that could not be opened alone.
func (f *fileFlags) read() ([]policy.Document, []policy.Finding, error) {
	var documents []policy.Document
	var findings []policy.Finding
	paths, err := f.paths()
	if err != nil {
		return nil, nil, err
	}
	for _, path := range paths {
		data, err := readFile(path)
		if err != nil {
			return nil, nil, err
		}
		parsed, found := policy.Parse(path, data)
		documents, findings = append(documents, parsed...), append(findings, found...)
	}
	return documents, findings, nil
}

func readFile(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(path) //nolint:gosec // the operator names the path
}

// paths opens folders, in the order of their files' names.
func (f *fileFlags) paths() ([]string, error) {
	var paths []string
	for _, name := range f.Files {
		info, err := os.Stat(name)
		switch {
		case name == "-":
			paths = append(paths, name)
			continue
		case err != nil:
			return nil, err
		case !info.IsDir():
			paths = append(paths, name)
			continue
		}
		before := len(paths)
		err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(paths) == before {
			return nil, fmt.Errorf("%s holds no policy file (*.yaml, *.yml, *.json)", name)
		}
	}
	return paths, nil
}

// report prints findings and returns whether any of them is an error.
func (a *app) report(findings []policy.Finding) bool {
	for _, f := range findings {
		fmt.Fprintln(a.stderr, f)
	}
	return policy.HasErrors(findings)
}

type lintCmd struct {
	fileFlags
	policyFlags
	Output string `short:"o" help:"text or json." default:"text" enum:"text,json"`
}

// Run lints files as one policy, without a store.
func (c *lintCmd) Run(a *app) error {
	documents, findings, err := c.read()
	if err != nil {
		return err
	}
	if !policy.HasErrors(findings) {
		findings = append(findings, plan.Compare(nil, documents, c.options()).Findings...)
	}
	if c.Output == "json" {
		if err := printJSON(a.stdout, findings); err != nil {
			return err
		}
	} else {
		a.report(findings)
	}
	if policy.HasErrors(findings) {
		return exitError{exitLocal}
	}
	if c.Output == "text" {
		objects := 0
		for _, d := range documents {
			objects += len(d.Objects)
		}
		fmt.Fprintf(a.stdout, "%d objects, no errors\n", objects)
	}
	return nil
}

// offlineFlags open a store past the admin API.
type offlineFlags struct {
	Store   string `required:"" help:"Where policy and records live: postgres://… or sqlite:///path." placeholder:"DSN"`
	KekFile string `name:"keys-kek-file" help:"Key-encryption key; needed to record what is written, and to explain by facts that were sealed." placeholder:"PATH"`
	policyFlags
}

// with opens the store, works on it and closes it.
func (f *offlineFlags) with(a *app, work func(*server.Offline) error) error {
	offline, err := server.OpenOffline(a.ctx, server.OfflineConfig{DSN: f.Store, KEKFile: f.KekFile, Policy: f.options(), Operator: operator()})
	if err != nil {
		return err
	}
	return errors.Join(work(offline), offline.Close())
}

type planCmd struct {
	fileFlags
	offlineFlags
}

// Run prints what applying the files would change.
func (c *planCmd) Run(a *app) error {
	return c.plan(a, &c.fileFlags, func(_ *server.Offline, p *plan.Plan) error {
		if len(p.Changes) > 0 {
			return exitError{exitDenied}
		}
		return nil
	})
}

// plan compares files with the store, prints what differs and goes on with that.
func (f *offlineFlags) plan(a *app, files *fileFlags, next func(*server.Offline, *plan.Plan) error) error {
	documents, findings, err := files.read()
	if err != nil {
		return err
	}
	if a.report(findings) {
		return exitError{exitLocal}
	}
	return f.with(a, func(offline *server.Offline) error {
		p, err := offline.Plan(a.ctx, documents)
		if err != nil {
			return err
		}
		if a.report(p.Findings) {
			return exitError{exitLocal}
		}
		fmt.Fprint(a.stdout, p.Text())
		return next(offline, p)
	})
}

type applyCmd struct {
	fileFlags
	offlineFlags
	Reason string `required:"" help:"Why the store is written past the admin API; stands in the history and the record." placeholder:"TEXT"`
}

// Run writes policy files to a store as one revision.
func (c *applyCmd) Run(a *app) error {
	return c.plan(a, &c.fileFlags, func(offline *server.Offline, p *plan.Plan) error {
		if len(p.Changes) == 0 {
			return nil
		}
		revision, err := offline.Apply(a.ctx, p, c.Reason)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "revision %d\n", revision)
		return nil
	})
}

type exportCmd struct {
	Set string `arg:"" optional:"" help:"Set to print; all of them without." placeholder:"SET"`
	offlineFlags
}

// Run prints the policy of a store, one document a set.
func (c *exportCmd) Run(a *app) error {
	return c.with(a, func(offline *server.Offline) error {
		documents, err := offline.Export(a.ctx, c.Set)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(documents)
		return err
	})
}

type whyCmd struct {
	ID string `arg:"" help:"Id of the record: x-request-id of the answer, or the jti of a token."`
	offlineFlags
}

// Run explains a recorded decision.
func (c *whyCmd) Run(a *app) error {
	return c.with(a, func(offline *server.Offline) error {
		explained, err := offline.Explain(a.ctx, c.ID)
		if err != nil {
			return err
		}
		_, err = io.WriteString(a.stdout, explained.Text())
		return err
	})
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// operator names who runs this program, as far as the system knows: an author
// for the history, proven to nobody.
func operator() string {
	name := "uid " + fmt.Sprint(os.Getuid())
	if user := os.Getenv("SUDO_USER"); user != "" {
		name += " (sudo by " + strings.ToValidUTF8(user, "?") + ")"
	}
	return name + " on " + hostname()
}
