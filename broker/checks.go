package broker

import (
	"github.com/cambist/cambist/broker/oauth"
)

// check is one thing that must hold for a token to be issued. Checks are data,
// so that a table test, `cambist why` and the mutation lane can walk them.
type check struct {
	reason Reason
	code   Code
	public string
	holds  func(*grant) bool
}

// One text for everything that depends on what the caller may reach, so that an
// unknown audience and a forbidden one look the same (standards TX-21).
const targetRefused = "the audience is unknown or not for this workload"

var checks = [...]check{
	{ReasonWorkloadUnproven, CodeInvalidClient, "the caller is not authenticated", func(g *grant) bool {
		return g.Workload.Proof != ProofNone && g.Workload.ID.Path() != ""
	}},
	{ReasonWorkloadExpired, CodeInvalidClient, "the proof of identity has expired", func(g *grant) bool {
		return g.Now.Before(g.Workload.NotAfter)
	}},
	{ReasonClientIDMismatch, CodeInvalidClient, "client_id is not the authenticated workload", func(g *grant) bool {
		return g.Request.ClientID == "" || g.Request.ClientID == g.Workload.ID.String()
	}},
	{ReasonGrantUnsupported, CodeUnsupportedGrantType, "the grant type is not supported", func(g *grant) bool {
		return g.Request.Grant == oauth.GrantClientCredentials || g.exchanges()
	}},
	{ReasonTokenTypeRequested, CodeInvalidRequest, "requested_token_type must be access_token", func(g *grant) bool {
		return g.Request.RequestedType == "" || g.Request.RequestedType == oauth.TokenTypeAccessToken
	}},
	{ReasonSubjectMissing, CodeInvalidRequest, "a subject token is required", func(g *grant) bool {
		return !g.exchanges() || g.Subject != nil
	}},
	{ReasonSubjectUnexpected, CodeInvalidRequest, "this grant takes no subject or actor token", func(g *grant) bool {
		return g.exchanges() || g.Subject == nil && g.Actor == nil
	}},
	{ReasonSubjectUnknown, CodeInvalidRequest, "the subject token is not from a trusted issuer", func(g *grant) bool {
		return g.Subject == nil || known(g.Subject)
	}},
	{ReasonSubjectExpired, CodeInvalidRequest, "the subject token has expired", func(g *grant) bool {
		return g.Subject == nil || g.Now.Before(g.Subject.ExpiresAt)
	}},
	{ReasonSubjectNotShown, CodeInvalidRequest, "the subject token is not for this workload to show", func(g *grant) bool {
		return g.Subject == nil || g.Subject.Issued || g.shown
	}},
	{ReasonSubjectNotHeld, CodeInvalidRequest, "the subject token is not for this workload to exchange", func(g *grant) bool {
		// Without a resource the rules (a) and (b) have no other end; that refusal says more.
		return g.Subject == nil || !g.Subject.Issued || g.Resource.URI == "" || g.holder || g.server
	}},
	{ReasonSubjectUnbound, CodeInvalidRequest, "the binding of the subject token is not proven", func(g *grant) bool {
		return !g.holder || g.proves(g.Subject.Confirmation)
	}},
	{ReasonActorMismatch, CodeInvalidRequest, "the actor token is not of the authenticated workload", func(g *grant) bool {
		return g.Actor == nil || g.Actor.Kind == SubjectWorkload && g.Actor.Sub == g.Workload.ID.String()
	}},
	{ReasonActorExpired, CodeInvalidRequest, "the actor token has expired", func(g *grant) bool {
		return g.Actor == nil || g.Now.Before(g.Actor.ExpiresAt)
	}},
	{ReasonMayAct, CodeInvalidRequest, "the subject token does not let this workload act", func(g *grant) bool {
		return g.Subject == nil || g.Subject.MayAct == nil || *g.Subject.MayAct == Party{Subject: g.Workload.ID.String()}
	}},
	{ReasonChainForeign, CodeInvalidRequest, "the subject token carries an act that its issuer may not make", func(g *grant) bool {
		s := g.Subject
		return s == nil || s.Actor == nil || s.Issued || s.Issuer != nil && s.Issuer.Delegates
	}},
	{ReasonChainLoop, CodeInvalidRequest, "the delegation chain comes back to one of its own", func(g *grant) bool {
		return g.Subject == nil || !chainLoops(g.chain, g.Subject)
	}},
	{ReasonChainTooLong, CodeInvalidRequest, "the delegation chain is too long", func(g *grant) bool {
		return g.chain.Depth() <= g.Limits.ChainDepth && chainBytes(g.chain) <= maxChainBytes && g.generations() <= g.Limits.ChainDepth
	}},
	{ReasonBlocked, CodeInvalidRequest, "the workload, the subject or its token is blocked", func(g *grant) bool {
		return !g.blocked()
	}},
	{ReasonResourceUnknown, CodeInvalidTarget, targetRefused, func(g *grant) bool {
		return g.Resource.URI != "" && g.Resource.URI == g.Request.Audience
	}},
	{ReasonResourceQuarantined, CodeInvalidTarget, targetRefused, func(g *grant) bool {
		return !g.Resource.Quarantined
	}},
	{ReasonMappingNone, CodeInvalidTarget, targetRefused, func(g *grant) bool {
		return g.failed || !g.reach.IsEmpty()
	}},
	{ReasonMappingFailed, CodeInvalidTarget, targetRefused, func(g *grant) bool {
		return !g.reach.IsEmpty()
	}},
	{ReasonDenied, CodeInvalidTarget, targetRefused, func(g *grant) bool {
		return !g.granted.IsEmpty()
	}},
	{ReasonProofNotAccepted, CodeInvalidTarget, "the resource does not accept this proof of identity", func(g *grant) bool {
		return g.Resource.Proofs.Has(g.Workload.Proof) && (!g.Workload.Proof.Bearer() || g.Resource.Binding == BindingDPoP || g.Resource.Binding == BindingBearer)
	}},
	{ReasonBindingUnproven, CodeInvalidRequest, "the resource needs a binding that this request does not prove", func(g *grant) bool {
		return g.bound()
	}},
	{ReasonScopeUnknown, CodeInvalidScope, "a requested scope is unknown or not granted", func(g *grant) bool {
		return g.Resource.Scopes.Includes(g.Request.Scopes)
	}},
	{ReasonScopeNotGranted, CodeInvalidScope, "a requested scope is unknown or not granted", func(g *grant) bool {
		return g.granted.Includes(g.Request.Scopes)
	}},
	{ReasonScopeNoDefault, CodeInvalidScope, "no scope was requested and no default scope is granted", func(g *grant) bool {
		return !g.result.IsEmpty()
	}},
	{ReasonClaimConflict, CodeInvalidRequest, "two mappings give one claim different values", func(g *grant) bool {
		return !g.conflict
	}},
	{ReasonSubjectExpiring, CodeInvalidRequest, "the subject token expires too soon", func(g *grant) bool {
		return !g.bySubject || g.lives()
	}},
	{ReasonLifetimeExhausted, CodeInvalidRequest, "no lifetime is left under the bounds of this request", func(g *grant) bool {
		return g.lives()
	}},
}

// CheckReasons returns the reasons of the checks of Decide, in the order in which
// they are made. A refusal with another reason came before Decide was asked.
func CheckReasons() []Reason {
	reasons := make([]Reason, len(checks))
	for i := range checks {
		reasons[i] = checks[i].reason
	}
	return reasons
}

// exchanges reports whether the grant is one that takes a subject token.
func (g *grant) exchanges() bool {
	return g.Request.Grant == oauth.GrantTokenExchange || g.Request.Grant == oauth.GrantJWTBearer
}

// known reports whether the subject is somebody: a workload, or a user of an
// issuer that is still trusted.
func known(s *Subject) bool {
	switch s.Kind {
	case SubjectWorkload:
		_, ok := s.WorkloadID()
		return ok
	case SubjectUser:
		return s.Issuer != nil && !s.Issuer.Quarantined && s.Sub != ""
	default:
		return false
	}
}

// generations counts the tokens of ours that the result would descend from. It
// is capped rather than cut: anc must name every ancestor, so that revoking any
// of them is seen without a read.
func (g *grant) generations() int {
	if g.Subject == nil || !g.Subject.Issued {
		return 0
	}
	return len(g.Subject.Ancestors) + 1
}

// proves reports whether this request proves every part of a cnf.
func (g *grant) proves(c Confirmation) bool {
	return !c.Unknown &&
		(c.CertificateThumbprint == "" || c.CertificateThumbprint == g.Workload.Thumbprint) &&
		(c.KeyThumbprint == "" || c.KeyThumbprint == g.Request.ProofKey)
}

// bound reports whether the resource's binding is there in full.
func (g *grant) bound() bool {
	switch g.Resource.Binding {
	case BindingIdentity, BindingBearer:
		return true
	case BindingCertificate:
		return g.confirm.CertificateThumbprint != ""
	case BindingDPoP:
		return g.confirm.KeyThumbprint != ""
	default:
		return false
	}
}

// lives reports whether the token would live long enough to be of use.
func (g *grant) lives() bool { return g.expiresAt.Sub(g.Now) >= MinTTL }

// blocked reports whether a block stops the caller, the subject, its token or
// anybody in its chain. Mappings are looked up one by one where they are used.
func (g *grant) blocked() bool {
	stops := func(target BlockTarget, id string, s *Subject) bool {
		issuedAt := g.Now
		if s != nil {
			issuedAt = s.IssuedAt
		}
		return id != "" && g.View.Blocked(g.Now, target, id, issuedAt) != nil
	}
	if stops(BlockWorkload, g.Workload.ID.String(), nil) || stops(BlockSubject, g.Workload.ID.String(), nil) {
		return true
	}
	for _, s := range [...]*Subject{g.Subject, g.Actor} {
		if s == nil {
			continue
		}
		if stops(BlockSubject, s.Sub, s) || stops(BlockKey, s.KeyID, s) || stops(BlockToken, s.TokenID, s) || stops(BlockWorkload, s.ClientID, s) {
			return true
		}
		if s.Kind == SubjectWorkload && stops(BlockWorkload, s.Sub, s) || s.Issuer != nil && stops(BlockIssuer, s.Issuer.URL, s) {
			return true
		}
		for _, id := range s.Ancestors {
			if stops(BlockToken, id, s) {
				return true
			}
		}
		for a := s.Actor; a != nil; a = a.Actor {
			if stops(BlockWorkload, a.Subject, s) || stops(BlockSubject, a.Subject, s) {
				return true
			}
		}
	}
	return false
}
