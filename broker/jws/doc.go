// Package jws is the one strict JWS (RFC 7515) of Cambist: compact form only,
// asymmetric algorithms only, one key for one algorithm, JSON without
// duplicates, case variants or repair. Everything that is signed or verified
// anywhere in Cambist goes through it, so there is one parser to trust.
//
// Encryption is not known here: a JWE is refused before it is looked at.
package jws
