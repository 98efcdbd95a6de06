package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/cambist/cambist/broker/server"
)

type serveCmd struct {
	Settings server.Config `embed:""`
}

// Run serves until it is told to stop.
func (c *serveCmd) Run(a *app) error {
	if err := c.Settings.Faults(); err != nil {
		return fmt.Errorf("the settings have faults:\n%w", err)
	}
	if err := harden(); err != nil {
		return err
	}
	tuneMemory()
	log := newLogger(a, &c.Settings.Log)
	slog.SetDefault(log)
	return server.Run(a.ctx, c.Settings, server.Process{Log: log, Version: versionText()})
}

func newLogger(a *app, c *server.LogConfig) *slog.Logger {
	var level slog.Level // info; an unknown one was refused by the grammar
	_ = level.UnmarshalText([]byte(c.Level))
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(a.stderr, options))
	}
	return slog.New(slog.NewJSONHandler(a.stderr, options))
}

type validateCmd struct {
	Settings server.Config `embed:""`
}

// Run checks the settings of serve and prints what is in force and where each
// value came from.
func (c *validateCmd) Run(a *app, file *settingsFile) error {
	for _, flag := range file.parsed.Flags() {
		if flag.Hidden || slices.Contains([]string{"help", "config"}, flag.Name) {
			continue
		}
		fmt.Fprintf(a.stdout, "%-26s %-40s # %s\n", flag.Name, shown(flag), file.origin(flag))
	}
	if err := c.Settings.Faults(); err != nil {
		return fmt.Errorf("the settings have faults:\n%w", err)
	}
	return nil
}

// shown returns the value of a flag, without the password of a DSN.
func shown(flag *kong.Flag) string {
	text := fmt.Sprint(flag.Target.Interface())
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	if strings.Contains(text, "password=") {
		return "(holds a password)"
	}
	if text == "" {
		return `""`
	}
	return text
}

type migrateCmd struct {
	Store string `required:"" help:"Store to create or upgrade: postgres://… (as its owner) or sqlite:///path." placeholder:"DSN"`
}

// Run migrates and says what it did.
func (c *migrateCmd) Run(a *app) error {
	applied, err := server.Migrate(a.ctx, c.Store)
	for _, name := range applied {
		fmt.Fprintln(a.stdout, "applied", name)
	}
	if err != nil {
		return remote(err)
	}
	if len(applied) == 0 {
		fmt.Fprintln(a.stdout, "the schema is up to date")
	}
	return nil
}

// tuneMemory trades memory for time on a server (about a tenth of its CPU),
// within what the container may have. GOGC and GOMEMLIMIT from outside win.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if limit := memoryLimit(); limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}
