// Package dev runs a server with everything that it needs on one machine: a
// trust domain with its own SPIFFE Workload API, an OpenID issuer with two users,
// SQLite, and a policy file that is watched. It listens on loopback alone, and
// nothing of it can be mistaken for production: the trust domain does not exist,
// the CA says what it is, and the store is marked.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"

	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/devkit/workload"
	"github.com/cambist/cambist/broker/server"
)

// Domain is the trust domain of every development server. Nobody can register
// it (RFC 2606).
const Domain = "dev.cambist.invalid"

// Stamp is the mark of its store, which no other server accepts.
const Stamp = "dev"

// Broker is the name of the server in its own trust domain.
const Broker = "cambist/broker"

// Config says how to run. The zero value needs Data and Now.
type Config struct {
	Policy  string // file that is watched; "" for the sample
	Data    string // folder that is kept
	Mtls    string // addresses, host:port; port 0 chooses one
	IDP     string
	Ops     string
	SVIDTTL time.Duration // life of X.509-SVIDs
	Nonce   bool          // demand nonces in DPoP proofs
	JSON    bool          // print one line of JSON when ready, instead of words for people
	Version string
	Now     func() time.Time
	Out     io.Writer    // what happens, for people
	Log     *slog.Logger // of the server
	// Ready is told where everything is. May be nil.
	Ready func(Places)

	started func(*dev) // as Ready, for the demo
}

// Places are where everything of a running development server is.
type Places struct {
	Issuer    string            `json:"issuer"`
	ServerID  string            `json:"server_id"`
	Users     string            `json:"users_issuer"` // the OpenID issuer
	Ops       string            `json:"ops"`
	Data      string            `json:"data"`
	Bundle    string            `json:"bundle"` // PEM file of the trust bundle
	CA        string            `json:"ca"`     // folder of the development CA
	Workloads map[string]string `json:"workloads"`
	Policy    string            `json:"policy,omitzero"`
	Revision  int64             `json:"revision"`
}

// dev is a development server while it runs.
type dev struct {
	Config
	ca        *trust.CA
	issuer    *idp.Issuer
	workloads *workload.Server
	store     server.Store
	offline   *server.Offline
	places    Places
	watched   *watched
}

// Run serves until ctx ends. An error of the first policy ends it at once; later
// ones leave the policy as it is.
func Run(ctx context.Context, c Config) error {
	d := &dev{Config: c}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	users, err := (&net.ListenConfig{}).Listen(ctx, "tcp", d.IDP)
	if err != nil {
		return errors.Join(fmt.Errorf("users: %w", err), d.store.Close())
	}
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return d.workloads.Run(inner) })
	group.Go(func() error { return serveUsers(inner, users, d.issuer.Handler()) })
	group.Go(func() error {
		return server.Run(inner, d.serverConfig(), server.Process{
			Log: d.Log, Version: d.Version, Store: d.store, Stamp: Stamp,
			Ready: func(server.Addresses) { group.Go(func() error { return d.watch(inner) }) },
		})
	})
	return group.Wait()
}

func serveUsers(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("users: %w", err)
	}
	return nil
}

// serverConfig is what an operator would write for this machine.
func (d *dev) serverConfig() server.Config {
	return server.Config{
		Issuer: d.places.Issuer, Store: "sqlite://" + filepath.Join(d.Data, "cambist.db"), Replica: "dev",
		Audit:    server.AuditConfig{Commit: "database"},
		Keys:     server.KeysConfig{KekFile: filepath.Join(d.Data, "kek"), PublishLead: 15 * time.Minute, RotateEvery: 24 * time.Hour},
		Identity: server.IdentityConfig{WorkloadAPI: d.places.Workloads[Broker]},
		Mtls:     server.MtlsConfig{Address: d.Mtls}, Ops: server.OpsConfig{Address: d.Ops},
		Limits:   server.LimitsConfig{TTLCap: 15 * time.Minute, ChainDepth: 4, Concurrent: 256, Rate: 200, Burst: 400, Self: true},
		DPoP:     server.DPoPConfig{Nonce: d.Nonce},
		Outbound: server.OutboundConfig{PrivateHosts: []string{"127.0.0.1", "localhost"}}, // any issuer of this machine
	}
}

// ID returns the SPIFFE ID of a workload of the development trust domain: ns/sa,
// or the whole ID.
func (d *dev) id(name string) (spiffeid.ID, error) { return d.ca.ID(name) }
