package dev

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/devkit/workload"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/server"
)

//go:embed sample.yaml
var sample string

// Sample returns the policy that a development server begins with.
func Sample() string { return sample }

// sampleUsers is the address that the sample names; it is replaced where the
// issuer is somewhere else.
const sampleUsers = "http://127.0.0.1:8480"

// The places below the data folder.
const (
	CAFolder  = "ca"
	idpKey    = "idp-key.pem"
	usersFile = "users-issuer" // the URL of the issuer that ran last
)

// prepare makes what is not there yet: folder, CA, keys, store, the first
// revision of the policy, a socket for each workload of it.
func (d *dev) prepare(ctx context.Context) error {
	if d.SVIDTTL == 0 {
		d.SVIDTTL = time.Hour
	}
	if err := os.MkdirAll(d.Data, 0o700); err != nil {
		return err
	}
	for _, address := range []*string{&d.Mtls, &d.IDP, &d.Ops} {
		if err := loopback(ctx, address); err != nil {
			return err
		}
	}
	if err := d.makeIdentities(); err != nil {
		return err
	}
	if err := makeKEK(filepath.Join(d.Data, "kek")); err != nil {
		return err
	}
	if err := d.openStore(ctx); err != nil {
		return err
	}
	d.watched = &watched{path: d.Policy, builtIn: strings.ReplaceAll(sample, sampleUsers, d.issuer.URL())}
	if err := d.reload(ctx); err != nil {
		return errors.Join(err, d.store.Close())
	}
	return nil
}

// loopback refuses every other address, and chooses a port where none is named.
func loopback(ctx context.Context, address *string) error {
	host, port, err := net.SplitHostPort(*address)
	if err != nil {
		return fmt.Errorf("%q is not host:port", *address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is not a loopback address: a development server answers this machine alone", *address)
	}
	if port != "0" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *address)
	if err != nil {
		return err
	}
	*address = l.Addr().String()
	return l.Close()
}

func (d *dev) makeIdentities() error {
	var err error
	d.places.CA = filepath.Join(d.Data, CAFolder)
	if d.ca, err = trust.Open(d.places.CA, spiffeid.RequireTrustDomainFromString(Domain), d.Now); err != nil {
		return err
	}
	url := "http://" + d.IDP
	if d.issuer, err = idp.Open(filepath.Join(d.Data, idpKey), url, d.Now); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.Data, usersFile), []byte(url), 0o600); err != nil {
		return err
	}
	if d.workloads, err = workload.New(workload.Config{CA: d.ca, Dir: filepath.Join(d.Data, "sockets"), TTL: d.SVIDTTL, Now: d.Now}); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(d.Mtls)
	if err != nil {
		return err
	}
	id, err := d.id(Broker)
	if err != nil {
		return err
	}
	d.places.Issuer, d.places.ServerID, d.places.Users = "https://localhost:"+port, id.String(), url
	d.places.Ops, d.places.Data, d.places.Policy = "http://"+d.Ops, d.Data, d.Policy
	d.places.Workloads = map[string]string{}
	if err := d.addWorkload(id, "localhost", "127.0.0.1"); err != nil {
		return err
	}
	d.places.Bundle = filepath.Join(d.Data, trust.BundleFile)
	svid, err := d.ca.SVID(id, d.SVIDTTL)
	if err != nil {
		return err
	}
	return trust.WriteSVID(d.Data, svid, d.ca.Bundle()) // for the bundle that stands beside it
}

// addWorkload opens a socket for a workload: whoever opens it is that workload.
func (d *dev) addWorkload(id spiffeid.ID, hosts ...string) error {
	path, err := d.workloads.Add(id, hosts...)
	if err != nil {
		return err
	}
	d.places.Workloads[short(id.String())] = "unix://" + path
	return nil
}

// short is ns/sa where an ID of this trust domain has that form, else as it is.
func short(id string) string {
	rest, ok := strings.CutPrefix(id, "spiffe://"+Domain+"/ns/")
	if ns, sa, split := strings.Cut(rest, "/sa/"); ok && split && !strings.Contains(ns+sa, "/") {
		return ns + "/" + sa
	}
	return id
}

// UserToken returns an ID token of a user, signed by the issuer that keeps its
// key in the data folder, whether it runs or not.
func UserToken(c Config, user, audience string, ttl time.Duration) (string, error) {
	url, err := os.ReadFile(filepath.Join(c.Data, usersFile))
	if err != nil {
		return "", fmt.Errorf("no development server has run in %s (try: cambist dev): %w", c.Data, err)
	}
	issuer, err := idp.Open(filepath.Join(c.Data, idpKey), string(url), c.Now)
	if err != nil {
		return "", err
	}
	return issuer.Token(idp.IDToken, user, audience, ttl)
}

// makeKEK makes a key-encryption key if there is none.
func makeKEK(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // it never fails
	return os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(raw[:])+"\n"), 0o600)
}

// openStore opens the store and marks it. One that holds policy and no mark is of
// a server that is not for trying things out: it is left alone.
func (d *dev) openStore(ctx context.Context) error {
	opened, err := server.OpenStore(ctx, "sqlite://"+filepath.Join(d.Data, "cambist.db"))
	if err != nil {
		return err
	}
	if err := claim(ctx, opened); err != nil {
		return errors.Join(err, opened.Close())
	}
	d.store = opened
	d.offline, err = server.NewOffline(opened, server.OfflineConfig{
		KEKFile: filepath.Join(d.Data, "kek"), Policy: policy.Options{Issuer: d.places.Issuer, Now: d.Now}, Operator: "cambist dev",
	})
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	return nil
}

func claim(ctx context.Context, s server.Store) error {
	if _, err := s.Migrate(ctx); err != nil {
		return err
	}
	stamp, err := s.Stamp(ctx)
	if err != nil || stamp == Stamp {
		return err
	}
	if _, revision, err := s.Load(ctx); err != nil || revision > 0 {
		return errors.Join(err, errors.New("the store is in use by a server that is not for trying things out; choose another --data"))
	}
	return s.SetStamp(ctx, Stamp)
}
