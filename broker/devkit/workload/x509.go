package workload

import (
	"context"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// FetchX509SVID sends the X.509-SVID of the workload and the bundle of its trust
// domain, at once and whenever there is another of either.
func (e *endpoint) FetchX509SVID(_ *api.X509SVIDRequest, stream grpc.ServerStreamingServer[api.X509SVIDResponse]) error {
	var sent *shown
	for {
		next, err := e.svid()
		if err != nil {
			return status.Error(codes.Unavailable, err.Error())
		}
		if next != sent {
			if err := stream.Send(next.answer); err != nil {
				return err
			}
			sent = next
		}
		renew := time.NewTimer(min(e.config.glance, next.renewAt.Sub(e.config.Now())))
		select {
		case <-next.over:
		case <-next.roots:
		case <-renew.C:
		case <-e.over:
			err = e.farewell
		case <-stream.Context().Done():
			err = gone()
		}
		renew.Stop()
		if err != nil {
			return err
		}
	}
}

// FetchX509Bundles sends the bundle of the trust domain, at once and whenever it
// changes.
func (e *endpoint) FetchX509Bundles(_ *api.X509BundlesRequest, stream grpc.ServerStreamingServer[api.X509BundlesResponse]) error {
	var sent *x509bundle.Bundle
	return e.follow(stream.Context(), func() error {
		bundle := e.config.CA.Bundle()
		if bundle.Equal(sent) {
			return nil
		}
		sent = bundle
		return stream.Send(&api.X509BundlesResponse{
			Bundles: map[string][]byte{bundle.TrustDomain().IDString(): der(bundle.X509Authorities())},
		})
	})
}

// follow calls show now and whenever the roots of the CA have changed.
func (e *endpoint) follow(ctx context.Context, show func() error) error {
	for {
		changed := e.config.CA.Changed()
		if err := show(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-e.over:
			return e.farewell
		case <-ctx.Done():
			return gone()
		}
	}
}

// gone ends a stream that nobody listens to any more. Should somebody do so after
// all, he may try again: after Canceled clients never do.
func gone() error { return status.Error(codes.Unavailable, "the connection has ended") }
