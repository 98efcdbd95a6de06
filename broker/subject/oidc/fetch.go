package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/cambist/cambist/broker/jws"
)

// fetched is what a fetch brought: a set with at least one key, or an error.
type fetched struct {
	set     jws.KeySet
	skipped []error
	uri     string // where it was found by discovery
	err     error
}

type getter func(ctx context.Context, url string) ([]byte, error)

// fetch gets the keys of a place. A uri that discovery found before is taken as
// it is, which halves the way for a request that waits.
func fetch(ctx context.Context, get getter, p place, uri string) fetched {
	var body []byte
	var err error
	switch {
	case p.file != "":
		body, err = readFile(p.file)
	case p.uri != "":
		body, err = get(ctx, p.uri)
	default:
		if uri == "" {
			if uri, err = discover(ctx, get, p.issuer); err != nil {
				return fetched{err: fmt.Errorf("discovery: %w", err)}
			}
		}
		body, err = get(ctx, uri)
	}
	if err != nil {
		return fetched{err: fmt.Errorf("keys: %w", err)}
	}
	var allowed []jws.Algorithm
	for a := range strings.FieldsSeq(p.algorithms) {
		allowed = append(allowed, jws.Algorithm(a))
	}
	set, skipped, err := jws.ParseKeySet(body, allowed)
	if err != nil {
		return fetched{err: fmt.Errorf("keys: %w", err)}
	}
	if set.Len() == 0 {
		return fetched{err: fmt.Errorf("keys: %w", errors.Join(append([]error{errNoKeys}, skipped...)...))}
	}
	return fetched{set: set, skipped: skipped, uri: uri}
}

var (
	errNoKeys    = errors.New("no key in the set can be used")
	errDocument  = errors.New("not a discovery document of this issuer")
	errDowngrade = errors.New("jwks_uri leaves https")
	errFile      = errors.New("not a plain file")
)

// discover returns the jwks_uri of an issuer (OpenID Connect Discovery section
// 4). The document must name the issuer letter by letter (section 4.3).
func discover(ctx context.Context, get getter, issuer string) (string, error) {
	body, err := get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := jws.DecodeClaims(body, &document, 8); err != nil || document.Issuer != issuer {
		return "", errDocument
	}
	from, err := url.Parse(issuer)
	if err != nil {
		return "", errDocument
	}
	to, err := url.Parse(document.JWKSURI)
	if err != nil {
		return "", errDocument
	}
	if from.Scheme == "https" && to.Scheme != "https" {
		return "", errDowngrade
	}
	return document.JWKSURI, nil
}

// readFile reads a key set from a plain file. It is read anew each time instead
// of watched: that sees every way to change a file, and costs nothing. A pipe
// neither blocks it nor is read.
func readFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the name comes from policy, whose writers choose the keys in any case
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errFile
	}
	return io.ReadAll(io.LimitReader(f, jws.MaxKeySetBytes+1)) // one over the limit is refused when it is parsed
}
