// Package jwtsvid verifies JWT-SVIDs that are shown as a subject or an actor token
// under our own type urn:cambist:token-type:jwt-svid. Package jwtassertion lets
// workloads prove themselves with one, by the same rules.
//
// It is as strict as the JWT-SVID standard lets a validator be, and stricter in
// four things:
//
//   - The header must have a kid, and nothing but alg, kid and typ.
//   - aud must be our issuer identifier alone, as a string or in an array of one: who
//     is one of two audiences of a token can show it to the other.
//   - sub must have a path. A trust domain is not a workload.
//   - A JWT-SVID is good for five minutes, by whichever of its dates says so first:
//     it may have been issued at most five minutes ago, or, if it does not say when,
//     expire in five minutes at most. None lives for more than an hour. Within that
//     it may be shown again: it is a bearer token, agents hand out the same one until
//     half of its life has passed, and so none is kept in mind here. An agent that
//     makes JWT-SVIDs that live for more than ten minutes hands them out when they
//     are too old for us.
//
// A key counts for the trust domain whose bundle has it, and bundles are never
// merged: the trust domain in sub says which is asked.
//
// What a JWT-SVID is good for is for broker.Decide to say. As an actor token it
// must name the caller. As a subject token it is verified here and refused there: on
// behalf of another workload one acts with a token of ours that it sent (design 5),
// and a JWT-SVID whose audience is this broker was not sent to be passed on.
package jwtsvid
