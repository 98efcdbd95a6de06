// Package server is the wiring: it puts the rooms together and runs them.
package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn/mtls"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
)

// identitySource says where our own SVID and the bundles come from: the SPIFFE
// Workload API, or files.
type identitySource struct {
	WorkloadAPI string            // its address, as unix:///run/spire/agent.sock; "" for files
	Cert        string            // PEM file of our SVID, then what leads to a root
	Key         string            // PEM file of its key, for our eyes only
	Bundles     map[string]string // trust domain → PEM file of its CA certificates
	JWTBundles  map[string]string // trust domain → SPIFFE bundle with its keys for JWT-SVIDs
	Interval    time.Duration     // between two looks at the files; 0 is a second
	Now         func() time.Time
	Log         *slog.Logger // nil for none
}

const (
	defaultIdentityInterval = time.Second
	defaultSilence          = 30 * time.Second // of the Workload API, until we ask again
	defaultRetry            = 250 * time.Millisecond
)

// identity keeps our own SVID and the bundles of all trust domains fresh, for as
// long as Run runs. It works without either, says so in Ready, and keeps what it
// has while the source is away: an SVID to the end of its life, a bundle until the
// source says another, or for a minute when it says something that cannot be used.
type identity struct {
	source identitySource
	workloadAPI

	trust  mtls.Trust
	keys   jwtsvid.Trust
	own    atomic.Pointer[x509svid.SVID]
	health atomic.Pointer[identityHealth]

	// What follows belongs to the goroutine of Run.
	bundles  keeper[authorities]
	jwt      keeper[[]jws.Key]
	svidErr  error             // why the source gave no SVID when it was asked last
	keysErr  error             // and no keys for JWT-SVIDs
	odd      oddities          // what else it said that we cannot use
	oddKeys  oddities          // and of those keys
	seen     map[string]string // subject → the trouble with it, when we last looked
	reported map[string]string // subject → the trouble that was logged
}

// identityHealth is what Ready answers from. It never changes.
type identityHealth struct {
	svidErr error
	unfit   map[string]error // trust domains that trust nobody, and why
	fit     int              // trust domains that can authenticate somebody
}

// newIdentity returns an identity that knows nothing yet, or every fault of its
// configuration. That a file or the Workload API is not there is no such fault.
func newIdentity(c identitySource) (*identity, error) {
	i := &identity{
		source: c, workloadAPI: workloadAPI{silence: defaultSilence, retry: defaultRetry},
		bundles: keeper[authorities]{}, jwt: keeper[[]jws.Key]{}, seen: map[string]string{}, reported: map[string]string{},
	}
	var errs []error
	if c.WorkloadAPI != "" {
		var err error
		if i.target, err = workloadapi.TargetFromAddress(c.WorkloadAPI); err != nil {
			errs = append(errs, err)
		}
		if c.Cert != "" || c.Key != "" || len(c.Bundles)+len(c.JWTBundles) > 0 {
			errs = append(errs, errors.New("either workload_api or files, not both"))
		}
	} else if c.Cert == "" || c.Key == "" || len(c.Bundles) == 0 {
		errs = append(errs, errors.New("either workload_api, or cert, key and at least one of bundles"))
	}
	for _, files := range []map[string]string{c.Bundles, c.JWTBundles} {
		for domain, path := range files {
			if err := broker.CheckTrustDomain(domain); err != nil {
				errs = append(errs, err)
			} else if path == "" {
				errs = append(errs, fmt.Errorf("trust domain %q has no file", domain))
			}
		}
	}
	if c.Interval < 0 {
		errs = append(errs, errors.New("the interval is negative"))
	}
	if c.Now == nil {
		errs = append(errs, errors.New("there is no clock"))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("identity: %w", errors.Join(errs...))
	}
	if c.Interval == 0 {
		i.source.Interval = defaultIdentityInterval
	}
	if c.Log == nil {
		i.source.Log = slog.New(slog.DiscardHandler)
	}
	return i, nil
}

// Trust returns the live bundles.
func (i *identity) Trust() *mtls.Trust { return &i.trust }

// GetX509SVID implements x509svid.Source with our own SVID. It gives none that has
// expired.
func (i *identity) GetX509SVID() (*x509svid.SVID, error) {
	svid := i.own.Load()
	if svid == nil {
		return nil, errNoSVID
	}
	if end := svid.Certificates[0].NotAfter; !i.source.Now().Before(end) {
		return nil, fmt.Errorf("our SVID %s expired at %s", svid.ID, end.UTC().Format(time.RFC3339))
	}
	return svid, nil
}

var errNoSVID = errors.New("we have no SVID yet")

// Run keeps the identity fresh until ctx is done, and ends with all that it
// started.
func (i *identity) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	found, keys := make(chan identityFinding), make(chan keysFinding)
	if i.target != "" {
		wg.Go(func() { i.watch(ctx, found) })
		wg.Go(func() { i.watchKeys(ctx, keys) })
	} else {
		i.look()
	}
	tick := time.NewTicker(i.source.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-found:
			i.take(f)
		case f := <-keys:
			i.takeKeys(f)
			i.settle(i.source.Now())
		case <-tick.C:
			i.look()
		}
	}
}

// look reads the files, if it is files; in any case it lets time pass for what is
// only kept for a while.
func (i *identity) look() {
	if i.target == "" {
		i.takeKeys(readKeys(i.source.JWTBundles))
		i.take(readIdentity(&i.source))
		return
	}
	i.settle(i.source.Now())
}

// identityFinding is what one look at the source has found.
type identityFinding struct {
	svid    *x509svid.SVID
	svidErr error
	// bundles has every trust domain that the source speaks of; nil if it did not
	// get to speak.
	bundles bundles[authorities]
	odd     oddities
}

// take makes a finding count.
func (i *identity) take(f identityFinding) {
	now := i.source.Now()
	i.svidErr = f.svidErr
	if f.svid != nil {
		i.svidErr = i.takeSVID(f.svid, now)
	}
	if f.bundles != nil {
		i.odd = f.odd
		i.bundles.observe(f.bundles, now)
	}
	i.settle(now)
}

func (i *identity) takeSVID(svid *x509svid.SVID, now time.Time) error {
	leaf := svid.Certificates[0]
	if !now.Before(leaf.NotAfter) {
		return fmt.Errorf("the SVID there expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if last := i.own.Load(); last != nil && slices.EqualFunc(last.Certificates, svid.Certificates, (*x509.Certificate).Equal) {
		return nil
	}
	i.own.Store(svid)
	i.source.Log.Info("identity: own SVID", "spiffe_id", svid.ID.String(), "serial", leaf.SerialNumber.Text(16), "not_after", leaf.NotAfter.UTC())
	return nil
}

// settle hands out what counts at this time and tells of what is amiss.
func (i *identity) settle(now time.Time) {
	lists, unfit := i.bundles.current(now)
	before := i.trust.Generation()
	odd := append(i.trust.Set(lists), i.odd...)
	if after := i.trust.Generation(); after != before {
		i.source.Log.Info("identity: bundles changed", "generation", after, "trust_domains", domainNames(lists))
	}
	h := &identityHealth{svidErr: i.svidErr, unfit: map[string]error{}}
	trouble := map[string]string{}
	for domain := range lists {
		err := unfit[domain]
		if err != nil {
			trouble["bundle of "+domain.Name()] = err.Error()
		}
		if i.trust.Authorities(domain) > 0 {
			h.fit++
		} else {
			h.unfit[domain.Name()] = err
		}
	}
	i.health.Store(h)
	if i.svidErr != nil {
		trouble["own SVID"] = i.svidErr.Error()
	}
	if slices.Sort(odd); len(odd) > 0 {
		trouble["bundles"] = strings.Join(odd, "; ")
	}
	i.settleKeys(now, trouble)
	i.report(trouble)
}

// report logs trouble once, when it is there for the second look in a row: while
// files are replaced one after the other, one look may see the new certificate
// with the old key. What was logged is also logged when it is over.
func (i *identity) report(trouble map[string]string) {
	for subject, text := range trouble {
		if i.seen[subject] == text && i.reported[subject] != text {
			i.reported[subject] = text
			i.source.Log.Error("identity: "+subject, "error", text)
		}
	}
	for subject := range i.reported {
		if _, still := trouble[subject]; !still {
			delete(i.reported, subject)
			i.source.Log.Info("identity: " + subject + ": well again")
		}
	}
	i.seen = trouble
}

func domainNames(lists map[spiffeid.TrustDomain][]*x509.Certificate) []string {
	names := make([]string, 0, len(lists))
	for domain := range lists {
		names = append(names, domain.Name())
	}
	slices.Sort(names)
	return names
}
