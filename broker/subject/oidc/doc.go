// Package oidc verifies tokens of other issuers: the access tokens and ID tokens
// of an OpenID provider, and the ServiceAccount tokens of a Kubernetes cluster,
// which has the same documents. What differs from kind to kind (typ, where the
// scopes are) is compiled by package policy into broker.Issuer; only the claims
// that tell an ID token from an access token with the same header are known
// here.
//
// # Keys
//
// Keys holds the public keys of every issuer, each apart from the others: a key
// is looked up by the issuer, then by kid, never over all issuers. They come
// from discovery at the issuer's URL, from a URL or from a file.
//
//   - They are fetched anew every 5 minutes (files: 10 seconds), and once more
//     when a token names a kid that is not there. A request waits at most
//     500 ms for that, and an issuer is asked at most once in 30 seconds,
//     whatever comes back.
//   - A set that is fetched replaces the one before. One that cannot be fetched
//     or used (an error, a page of HTML, a private key in it, no key left) does
//     not: the last good set serves until it is an hour old. After that the
//     tokens of this issuer are refused as unavailable, and no others.
//   - The discovery document must name the issuer letter by letter. Its
//     jwks_uri may lie on any public host: large providers keep it on another,
//     and whoever can write that document speaks for the issuer in any case.
//     What is not public is refused where the connection is made.
//
// # Fetching
//
// Fetcher gets documents over TLS: no redirect is followed, no proxy taken from
// the environment, nothing over 256 KiB read, and no address that is not public
// is connected to unless its host is listed. The address is checked after the
// name was resolved, on the very connection, so no answer of a DNS server goes
// around it.
package oidc
