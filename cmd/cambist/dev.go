package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/devkit/trust"
)

// devDomain is a name that nobody can register (RFC 2606).
const devDomain = "dev.cambist.invalid"

type devCmd struct {
	Svid devSvidCmd `cmd:"" help:"Write an X.509-SVID, its key and the trust bundle as PEM files, for curl."`
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

// devFolder is where the development CA lives unless told otherwise.
func devFolder() string {
	base, err := os.UserConfigDir()
	if err != nil {
		base = "."
	}
	return filepath.Join(base, "cambist-dev", "ca")
}
