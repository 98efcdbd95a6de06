// Package verify is the core of a resource server: it says whether an access
// token of Cambist (RFC 9068) is good for this service, on this connection, now.
//
// A token alone is not enough. Verify also takes the Peer, what the connection
// of the request proved, and holds the token against it: one with cnf is good
// only where every member of cnf is proven, one without only in the hands of the
// workload that it was issued to, or of one that its presenters name. AllowBearer
// lifts the second rule, never the first. A token that is bound to a key (DPoP, RFC
// 9449) comes with a proof, and is for VerifyDPoP alone.
//
// There is no way from text to a Token but these two, so whoever has a Token has a
// verified one. The package knows no framework: clients/enforce has
// the adapters. Keys are kept by Run and read without a lock; while there are
// none, nothing is accepted.
package verify
