// Package subject says whose token is shown. Each room verifies the tokens of
// one kind of source and fills a broker.Subject; Route asks the one room whose
// token it is. Which caller may exchange which token is decided later, by
// broker.Decide alone.
//
// A token is told by what stands in it, never by the shape of the request, and
// the first source that it belongs to is final: no refusal is tried again
// elsewhere. The type that the caller declared must be the one that the token
// is (RFC 8693 section 2.1): …:access_token for tokens of ours, …:jwt or
// …:id_token for those of others.
//
// Signatures are checked before claims, so that what a refusal says about
// claims was true once. No refusal holds anything of the token.
//
// What the rooms share is here as well: the act chain, may_act, cnf, declared
// claims, dates, and what text may name somebody.
package subject
