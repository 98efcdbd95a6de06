// Package spire runs our server and a client on the Workload API of SPIRE, built
// from its modules: the real issuer of the identities that we stand on. It is a
// module of its own, so that SPIRE's dependencies are not ours.
package spire
