// Package broker is the domain of Cambist: what a workload may exchange for
// what, and the straight line that issues it. It knows no HTTP, SQL, JOSE or
// CEL; the rooms below it speak those languages and hand it values.
//
// # Glossary: one word, one meaning
//
//   - Workload: the authenticated caller: its SPIFFE ID, how it proved it, and
//     the certificate it proved it with. Never user, client or principal.
//   - SubjectToken: a raw token and its declared type, not verified.
//   - Subject: the verified party in a subject token, with its origin issuer.
//   - Actor: one link of the delegation chain (RFC 8693 section 4.1), the
//     current actor outermost.
//   - ExchangeRequest: one token request after parsing, before any decision.
//   - Scopes: a set of scope tokens. A granted scope is always a pair
//     (resource, scope); the audience of a token says which resource.
//   - Resource: a protected service that tokens are for. Its URI is the
//     audience. Its ServedBy names the workloads that are it.
//   - Issuer: a trusted source of subject tokens.
//   - Mapping: one allow or deny rule.
//   - Set: a named group of policy objects with one owner.
//   - Block: an emergency stop, outside policy files.
//   - Revocation: the end of one token before its time, and of all that descends
//     from it; to Decide it is a Block of that token.
//   - Introspection: what a caller may know of a token that was issued.
//   - Object: one policy object as it is stored and versioned.
//   - Revision: the number of one committed policy write; commit-ordered and
//     free of gaps.
//   - View: all policy, compiled, at one revision (the Snapshot of package
//     policy).
//   - Lease: how long a View may still be believed.
//   - Question: everything a decision depends on. Decision: the answer.
//   - Claims: what will be signed, before any format.
//   - Unsigned: the exact bytes that will be signed. IssuedToken: the result.
//   - Record: the durable row of one decision. Receipt: proof that it is
//     durable. No Receipt, no signature.
//   - Secret: a token or key that never prints (package oauth).
//   - Error, Code, Reason: what went wrong, for whom, in which words.
//
// To users we say guard for what enforces a token on the called side.
//
// # The straight line
//
// Exchanger.Exchange verifies the subject, finds the mappings, lets Decide
// attenuate, encodes the claims, records them durably, signs those very bytes,
// and looks once more at lease and revision before the token leaves. Nothing
// flows back up, and every grant type takes this one line.
package broker
