package verify

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/cambist/cambist/broker/jws"
)

// Script replaces what gets the keys, for tests in which time passes.
func (v *Verifier) Script(read func(context.Context) (jws.KeySet, time.Duration, error)) {
	v.keys.fetch = func(ctx context.Context) fetched {
		set, maxAge, err := read(ctx)
		return fetched{set: set, maxAge: maxAge, err: err}
	}
}

// Install gives the verifier keys without Run.
func (v *Verifier) Install(set jws.KeySet) {
	v.keys.state.Store(&keyState{set: set, fetchedAt: v.config.Now(), triedAt: v.config.Now()})
}

// Remembered returns how many certificates are remembered.
func (p *Peers) Remembered() int { return len(*p.proven.Load()) }

// The bounds that tests look at.
const (
	MaxActors = maxActors
	MaxProofs = maxProofs
	MaxHeader = maxHeader
)

// RefreshAfter is what a Cache-Control header asks for.
var RefreshAfter = refreshAfter

// Reasons are all reasons that have a row in the table.
func Reasons() []Reason {
	var list []Reason
	for r := range refusals {
		list = append(list, r)
	}
	return list
}

// Connects reports whether keys would be fetched from that address.
func Connects(dev bool, address string) bool { return refuseAddress(dev)("tcp", address, nil) == nil }

// ResolveTo makes every name stand for that address, as a poisoned DNS would.
func (v *Verifier) ResolveTo(address string) {
	f := newFetcher(&v.config)
	transport := f.client.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, address) }
	v.keys.fetch = f.fetch
}
