// Package spiffe lets the SDK take its SVID from the SPIFFE Workload API: from
// SPIRE, or whatever else answers there. It stands apart from package exchange
// because it pulls in gRPC.
package spiffe

import (
	"context"
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/cambist/cambist/clients/exchange"
)

var errNoSocket = errors.New("there is no Workload API: set " + workloadapi.SocketEnv + ", as unix:///run/spire/agent.sock")

// WorkloadAPI takes SVID and bundles from the Workload API at the address that
// SPIFFE_ENDPOINT_SOCKET says, and follows them as they rotate, unless another
// option or CAMBIST_SVID_DIR names a source:
//
//	client, err := exchange.New(ctx, exchange.FromEnv(), spiffe.WorkloadAPI())
//
// New waits for the first SVID: bound its context.
func WorkloadAPI() exchange.Option {
	return exchange.WithSourceFrom(func(ctx context.Context) (exchange.Source, error) {
		if _, ok := workloadapi.GetDefaultAddress(); !ok {
			return nil, errNoSocket
		}
		source, err := workloadapi.NewX509Source(ctx)
		if err != nil {
			return nil, fmt.Errorf("the Workload API: %w", err)
		}
		return source, nil
	})
}
