// Package issued verifies tokens of our own: the access tokens of RFC 9068 that
// package jwtat mints, shown again to be narrowed or exchanged onward (design 5,
// rules (a) and (b); which of them applies is decided in broker.Decide).
//
// What such a token says was decided by this broker once, so it is read back
// byte for byte: sub and the origin of its user are what was signed. Only the
// issuer of a user is looked up again, in the policy of now.
package issued
