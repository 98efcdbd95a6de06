package dev

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

//go:embed demo.yaml
var demoPolicy string

// Demo plays the whole story, with what really happens, and leaves nothing
// behind: two services and two callers in a trust domain of their own, tokens for
// a workload and for a user over two hops, and three ways in which a token is of
// no use. An error says which step went otherwise than it was told. Of c it uses
// Version, Now and Out.
func Demo(ctx context.Context, c Config) (err error) {
	dir, err := os.MkdirTemp("", "cambist-demo")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{out: c.Out, now: c.Now, listeners: map[string]net.Listener{}}
	for _, name := range []string{"orders", "ledger"} {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close() //nolint:errcheck // the service has closed it; this is for a start that failed
		d.listeners[name] = l
	}
	users := "127.0.0.1:0"
	if err := loopback(ctx, &users); err != nil {
		return err
	}
	policy := filepath.Join(dir, "policy.yaml")
	text := fmt.Sprintf(demoPolicy, "http://"+users, d.listeners["orders"].Addr(), d.listeners["ledger"].Addr())
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(running)
	group.Go(func() error {
		return Run(running, Config{
			Policy: policy, Data: filepath.Join(dir, "data"), Mtls: "127.0.0.1:0", IDP: users, Ops: "127.0.0.1:0", JSON: true, Version: c.Version, Now: c.Now,
			Out: io.Discard, Log: slog.New(slog.DiscardHandler),
			started: func(server *dev) {
				group.Go(func() error {
					defer stop()
					d.server = server
					return d.play(running)
				})
			},
		})
	})
	if err := group.Wait(); err != nil {
		return err
	}
	d.say("Everything of it is gone again. To try it yourself: cambist dev\n")
	return nil
}

// demo is the story while it is told.
type demo struct {
	out       io.Writer
	now       func() time.Time
	server    *dev
	listeners map[string]net.Listener
	parties   map[string]*party
	chapter   int
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format, args...) }

// title begins a chapter: what happens, and why it is worth looking at.
func (d *demo) title(what, why string) {
	d.chapter++
	d.say("\n%d. %s\n   %s\n\n", d.chapter, what, strings.ReplaceAll(why, "\n", "\n   "))
}

// play tells every chapter in order.
func (d *demo) play(ctx context.Context) error {
	d.say(`Cambist gives workloads short-lived OAuth access tokens for the identity that they
have anyway. This is a trust domain of its own, %s, on this machine:

  bi/reports ───────────────────────────────► finance/ledger   for itself
  alice ──► shop/web ──► shop/orders ──────► finance/ledger   on behalf of alice

What may get what is written in a policy file; this is the part that matters here:

%s`, Domain, indent(demoPolicy[strings.Index(demoPolicy, "allow:"):]))
	for _, chapter := range []func(context.Context) error{
		d.identities, d.itself, d.behalf, d.wrongHands, d.forbidden, d.stale, d.records,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	d.say("\n")
	return nil
}
