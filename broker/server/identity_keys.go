package server

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
)

// Keys returns the live keys for JWT-SVIDs.
func (i *identity) Keys() *jwtsvid.Trust { return &i.keys }

// keysFinding is what one look at the source has found of keys for JWT-SVIDs.
type keysFinding struct {
	bundles bundles[[]jws.Key] // nil if it did not get to speak
	err     error              // and why
	odd     oddities
}

// skip takes note of keys that cannot be used.
func (f *keysFinding) skip(where string, skipped []error) {
	for _, err := range skipped {
		f.odd.add("%s: %v", where, err)
	}
}

// takeKeys makes a finding of keys count.
func (i *identity) takeKeys(f keysFinding) {
	if i.keysErr = f.err; f.bundles != nil {
		i.oddKeys = f.odd
		i.jwt.observe(f.bundles, i.source.Now())
	}
}

// settleKeys hands out the keys for JWT-SVIDs that count at this time. That there
// are none keeps nobody from serving: few workloads show any.
func (i *identity) settleKeys(now time.Time, trouble map[string]string) {
	lists, unfit := i.jwt.current(now)
	odd := append(i.keys.Set(lists), i.oddKeys...)
	for domain, err := range unfit {
		trouble["JWT bundle of "+domain.Name()] = err.Error()
	}
	if i.keysErr != nil {
		trouble["JWT bundles"] = i.keysErr.Error()
	}
	if slices.Sort(odd); len(odd) > 0 {
		trouble["keys for JWT-SVIDs"] = strings.Join(odd, "; ")
	}
}

// watchKeys follows the keys for JWT-SVIDs until ctx is done.
func (i *identity) watchKeys(ctx context.Context, found chan<- keysFinding) {
	f := follower[workload.JWTBundlesResponse]{
		workloadAPI: i.workloadAPI,
		open: func(ctx context.Context, c workload.SpiffeWorkloadAPIClient) (grpc.ServerStreamingClient[workload.JWTBundlesResponse], error) {
			return c.FetchJWTBundles(ctx, &workload.JWTBundlesRequest{})
		},
		take: func(answer *workload.JWTBundlesResponse) { tell(ctx, found, parseKeys(answer)) },
		lost: func(err error) { tell(ctx, found, keysFinding{err: err}) },
	}
	f.run(ctx)
}

// parseKeys reads an answer of the Workload API. A trust domain whose document
// cannot be read does not take the others along.
func parseKeys(answer *workload.JWTBundlesResponse) keysFinding {
	f := keysFinding{bundles: bundles[[]jws.Key]{}}
	for name, document := range answer.GetBundles() {
		domain, ok := f.odd.domain(name)
		if !ok {
			continue
		}
		if _, ok := f.bundles[domain]; ok {
			f.bundles[domain] = found[[]jws.Key]{err: errTwoBundles}
			continue
		}
		keys, skipped, err := jwtsvid.ParseJWTBundle(document)
		f.skip(domain.Name(), skipped)
		f.bundles[domain] = found[[]jws.Key]{keys, err}
	}
	return f
}

// readKeys reads the SPIFFE bundles in whose keys for JWT-SVIDs we are to trust.
func readKeys(paths map[string]string) keysFinding {
	f := keysFinding{bundles: make(bundles[[]jws.Key], len(paths))}
	for name, path := range paths {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			continue // newIdentity has seen to it
		}
		keys, err := readFile(path, func(text []byte) ([]jws.Key, error) {
			keys, skipped, err := jwtsvid.ParseBundle(text)
			f.skip(path, skipped)
			return keys, err
		})
		f.bundles[domain] = found[[]jws.Key]{keys, err}
	}
	return f
}
