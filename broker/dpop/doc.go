// Package dpop reads DPoP proofs (RFC 9449): a JWT that a client signs for one
// request, to show that it holds a key. The token endpoint binds what it issues
// to that key, and a resource server holds the token against it.
//
// A proof proves possession and no name. It stands beside an authenticated
// caller, or beside a token that was verified already; what it says is compared
// with what the server knows by itself: its own URL from its configuration, the
// method, the token, the clock. A proof is good once, for a minute.
package dpop
