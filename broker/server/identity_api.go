package server

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/cambist/cambist/broker"
)

// workloadAPI is the SPIFFE Workload API as we follow it.
type workloadAPI struct {
	target  string        // as gRPC wants it; "" if there is none
	silence time.Duration // until we ask again
	retry   time.Duration // first pause after it was lost; it doubles
}

// follower follows one stream of answers. It speaks the protocol itself:
// go-spiffe's client gives up a whole answer for one bundle in it that cannot be
// read, where the other trust domains must not suffer, and ends its watch for good
// on some answers, where an agent that comes back should find us there.
type follower[A any] struct {
	workloadAPI
	open func(context.Context, workload.SpiffeWorkloadAPIClient) (grpc.ServerStreamingClient[A], error)
	take func(*A)
	lost func(error)
}

// run follows until ctx is done.
func (f *follower[A]) run(ctx context.Context) {
	pause := f.retry
	for ctx.Err() == nil {
		heard, err := f.stream(ctx)
		if heard {
			pause = f.retry
			if errors.Is(err, errSilence) {
				continue // it may just have no news; asked again it says the same again
			}
		}
		f.lost(fmt.Errorf("the Workload API: %w", err))
		wait := time.NewTimer(around(pause))
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
		pause = min(2*pause, maxRetry)
	}
}

const maxRetry = 10 * time.Second

// errSilence ends a stream on which nothing came for a while. An agent that hangs
// looks the same as one that has no news, and so does a socket whose agent has
// been replaced by another.
var errSilence = errors.New("it has not answered")

// stream dials and hands on each answer until the stream breaks or falls silent.
func (f *follower[A]) stream(ctx context.Context) (heard bool, err error) {
	// The socket is on this machine and proves who we are by our process: there is
	// no TLS on it (SPIFFE Workload Endpoint, section 3), and no proxy before it.
	conn, err := grpc.NewClient(f.target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(around(f.silence), func() { cancel(errSilence) })
	defer silence.Stop()
	ctx = metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", "true")
	answers, err := f.open(ctx, workload.NewSpiffeWorkloadAPIClient(conn))
	for err == nil {
		var answer *A
		if answer, err = answers.Recv(); err == nil {
			silence.Reset(around(f.silence))
			heard = true
			f.take(answer)
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return heard, err
}

// watch follows our SVID and the bundles of X.509 until ctx is done.
func (i *identity) watch(ctx context.Context, found chan<- identityFinding) {
	f := follower[workload.X509SVIDResponse]{
		workloadAPI: i.workloadAPI,
		open: func(ctx context.Context, c workload.SpiffeWorkloadAPIClient) (grpc.ServerStreamingClient[workload.X509SVIDResponse], error) {
			return c.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
		},
		take: func(answer *workload.X509SVIDResponse) { tell(ctx, found, parseAnswer(answer)) },
		lost: func(err error) { tell(ctx, found, identityFinding{svidErr: err}) },
	}
	f.run(ctx)
}

// tell hands a finding to Run, unless Run has ended.
func tell[F any](ctx context.Context, found chan<- F, f F) {
	select {
	case found <- f:
	case <-ctx.Done():
	}
}

// parseAnswer reads an answer of the Workload API. The first SVID is our identity
// (SPIFFE Workload API section 5.3). Without any, the answer breaks the protocol
// and nothing in it counts.
func parseAnswer(answer *workload.X509SVIDResponse) identityFinding {
	if len(answer.GetSvids()) == 0 {
		return identityFinding{svidErr: errors.New("the Workload API: no SVID in its answer")}
	}
	f := identityFinding{bundles: bundles[authorities]{}}
	f.svid, f.svidErr = parseSVID(answer.GetSvids()[0])
	for _, s := range answer.GetSvids() { // of several in one trust domain the first counts
		if domain, ok := f.odd.domain(s.GetSpiffeId()); ok {
			if _, ok := f.bundles[domain]; !ok {
				f.bundles[domain] = foundAuthorities(x509.ParseCertificates(s.GetBundle()))
			}
		}
	}
	ours := maps.Clone(f.bundles)
	for name, der := range answer.GetFederatedBundles() {
		domain, ok := f.odd.domain(name)
		if !ok {
			continue
		}
		if _, ok := ours[domain]; ok {
			f.odd.add("the Workload API: a federated bundle for %q, which is our own", domain)
		} else if _, ok := f.bundles[domain]; ok {
			f.bundles[domain] = foundAuthorities(nil, errTwoBundles) // which is the right one, nobody can know
		} else {
			f.bundles[domain] = foundAuthorities(x509.ParseCertificates(der))
		}
	}
	return f
}

var errTwoBundles = errors.New("the Workload API: two bundles")

func parseSVID(s *workload.X509SVID) (*x509svid.SVID, error) {
	svid, err := x509svid.ParseRaw(s.GetX509Svid(), s.GetX509SvidKey())
	if err != nil {
		return nil, fmt.Errorf("the Workload API: %w", err)
	}
	if svid.ID.String() != s.GetSpiffeId() {
		return nil, fmt.Errorf("the Workload API: the SVID of %q is announced as %.100q", svid.ID, s.GetSpiffeId())
	}
	return svid, nil
}

// oddities are what a source said that cannot be used, for people.
type oddities []string

func (o *oddities) add(format string, args ...any) { *o = append(*o, fmt.Sprintf(format, args...)) }

// domain returns the trust domain that the ID names or is in.
func (o *oddities) domain(id string) (spiffeid.TrustDomain, bool) {
	domain, err := spiffeid.TrustDomainFromString(id)
	if err == nil {
		err = broker.CheckTrustDomain(domain.Name())
	}
	if err != nil {
		o.add("the Workload API: a bundle of %.100q: %v", id, err)
		return spiffeid.TrustDomain{}, false
	}
	return domain, true
}

// around returns a time of about d, up to a fifth more or less, so that replicas
// that began together do not go on together.
func around(d time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(d)*2/5+1))
	if err != nil {
		return d
	}
	return d - d/5 + time.Duration(n.Int64())
}
