package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/dev"
	"github.com/cambist/cambist/broker/devkit/trust"
)

type demoCmd struct{}

// Run tells the story.
func (demoCmd) Run(a *app) error {
	return dev.Demo(a.ctx, dev.Config{Version: versionText(), Now: time.Now, Out: a.stdout})
}

type devCmd struct {
	Serve     devServeCmd     `cmd:"" default:"withargs" help:"Run a server with everything that it needs on this machine (the default)."`
	Svid      devSvidCmd      `cmd:"" help:"Write an X.509-SVID, its key and the trust bundle as PEM files, for curl."`
	UserToken devUserTokenCmd `cmd:"" help:"Print an ID token of a user of the development issuer."`
}

type devServeCmd struct {
	File    string        `short:"f" help:"Policy file; it is watched. Without, a sample is used (see --print-sample)." placeholder:"PATH" type:"path"`
	Data    string        `help:"Folder that keeps CA, keys and store." default:"${data}" type:"path"`
	Mtls    string        `name:"mtls-address" help:"Address of the mTLS listener." default:"127.0.0.1:8443"`
	Users   string        `name:"users-address" help:"Address of the OpenID issuer with the users alice and bob." default:"127.0.0.1:8480"`
	Ops     string        `name:"ops-address" help:"Address of the operations listener." default:"127.0.0.1:9090"`
	SVIDTTL time.Duration `name:"svid-ttl" help:"Life of X.509-SVIDs; they are renewed at half of it." default:"1h"`
	Nonce   bool          `name:"dpop-nonce" help:"Demand a nonce of the server in DPoP proofs, to see whether a client can."`
	JSON    bool          `name:"json" help:"Print one line of JSON when ready, with where everything is, and nothing else."`
	Sample  bool          `name:"print-sample" help:"Print the sample policy and end."`
	Verbose bool          `short:"v" help:"Print the log of the server too."`
}

// Run serves until it is told to stop.
func (c *devServeCmd) Run(a *app) error {
	if c.Sample {
		_, err := io.WriteString(a.stdout, dev.Sample())
		return err
	}
	level := slog.LevelError
	if c.Verbose {
		level = slog.LevelInfo
	}
	return dev.Run(a.ctx, dev.Config{
		Policy: c.File, Data: c.Data, Mtls: c.Mtls, IDP: c.Users, Ops: c.Ops, SVIDTTL: c.SVIDTTL, Nonce: c.Nonce, JSON: c.JSON, Version: versionText(),
		Now: time.Now, Out: a.stdout, Log: slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level})),
	})
}

type devUserTokenCmd struct {
	User     string        `required:"" help:"alice or bob." placeholder:"NAME"`
	Audience string        `help:"Audience of the token." default:"cambist"`
	TTL      time.Duration `name:"ttl" help:"Life of the token." default:"1h"`
	Data     string        `help:"Folder of the development server." default:"${data}" type:"path"`
}

// Run prints a token that the issuer of the folder signs.
func (c *devUserTokenCmd) Run(a *app) error {
	token, err := dev.UserToken(dev.Config{Data: c.Data, Now: time.Now}, c.User, c.Audience, c.TTL)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, token)
	return nil
}

type devSvidCmd struct {
	As          string        `required:"" help:"Workload: ns/sa, or a full SPIFFE ID." placeholder:"shop/web"`
	Out         string        `required:"" help:"Folder to write svid.pem, svid-key.pem and bundle.pem to." placeholder:"DIR" type:"path"`
	CA          string        `name:"ca" help:"Folder that keeps the development CA; made the first time." default:"${ca}" type:"path"`
	TrustDomain string        `help:"Trust domain of the CA." default:"${domain}"`
	TTL         time.Duration `name:"ttl" help:"Life of the SVID." default:"24h"`
	Hosts       []string      `name:"host" help:"DNS names and addresses by which plain clients reach this workload." placeholder:"NAME"`
}

// Run writes an SVID of the development CA.
func (c *devSvidCmd) Run(a *app) error {
	domain, err := spiffeid.TrustDomainFromString(c.TrustDomain)
	if err != nil {
		return fmt.Errorf("--trust-domain: %w", err)
	}
	ca, err := trust.Open(c.CA, domain, time.Now)
	if err != nil {
		return err
	}
	id, err := ca.ID(c.As)
	if err != nil {
		return fmt.Errorf("--as: %w", err)
	}
	svid, err := ca.SVID(id, c.TTL, c.Hosts...)
	if err != nil {
		return err
	}
	if err := trust.WriteSVID(c.Out, svid, ca.Bundle()); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s until %s\n", id, svid.Certificates[0].NotAfter.UTC().Format(time.RFC3339))
	for _, name := range []string{trust.SVIDFile, trust.KeyFile, trust.BundleFile} {
		fmt.Fprintln(a.stdout, filepath.Join(c.Out, name))
	}
	return nil
}

// devFolder is where a development server keeps what it has, unless told
// otherwise.
func devFolder() string {
	base, err := os.UserConfigDir()
	if err != nil {
		base = "."
	}
	return filepath.Join(base, "cambist-dev")
}
