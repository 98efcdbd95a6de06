package broker

// Reason is why a request was refused, from a closed list. It stands in the
// record, in metrics and in `cambist why`; the caller sees only what the check
// table says it may.
type Reason string

// Reasons of the checks of Decide, in the order in which they are checked.
const (
	ReasonWorkloadUnproven    Reason = "workload_unproven"
	ReasonWorkloadExpired     Reason = "workload_expired"
	ReasonClientIDMismatch    Reason = "client_id_mismatch"
	ReasonGrantUnsupported    Reason = "grant_unsupported"
	ReasonTokenTypeRequested  Reason = "requested_token_type_unsupported"
	ReasonSubjectMissing      Reason = "subject_missing"
	ReasonSubjectUnexpected   Reason = "subject_unexpected"
	ReasonSubjectUnknown      Reason = "subject_unknown"
	ReasonSubjectExpired      Reason = "subject_expired"
	ReasonSubjectNotShown     Reason = "subject_not_for_caller"
	ReasonSubjectNotHeld      Reason = "subject_not_held"
	ReasonSubjectUnbound      Reason = "subject_binding_unproven"
	ReasonActorMismatch       Reason = "actor_not_caller"
	ReasonActorExpired        Reason = "actor_expired"
	ReasonMayAct              Reason = "may_act"
	ReasonChainForeign        Reason = "chain_foreign"
	ReasonChainLoop           Reason = "chain_loop"
	ReasonChainTooLong        Reason = "chain_too_long"
	ReasonBlocked             Reason = "blocked"
	ReasonResourceUnknown     Reason = "resource_unknown"
	ReasonResourceQuarantined Reason = "resource_quarantined"
	ReasonProofNotAccepted    Reason = "proof_not_accepted"
	ReasonBindingUnproven     Reason = "binding_unproven"
	ReasonMappingNone         Reason = "mapping_none"
	ReasonMappingFailed       Reason = "mapping_failed"
	ReasonDenied              Reason = "denied"
	ReasonScopeUnknown        Reason = "scope_unknown"
	ReasonScopeNotGranted     Reason = "scope_not_granted"
	ReasonScopeNoDefault      Reason = "scope_no_default"
	ReasonClaimConflict       Reason = "claim_conflict"
	ReasonSubjectExpiring     Reason = "subject_expiring"
	ReasonLifetimeExhausted   Reason = "lifetime_exhausted"
)

// Reasons that arise outside Decide.
const (
	ReasonInternal             Reason = "internal"
	ReasonRequestMalformed     Reason = "request_malformed"
	ReasonCredentialsSeveral   Reason = "credentials_several"
	ReasonTokenMalformed       Reason = "token_malformed"
	ReasonTokenSignature       Reason = "token_signature"
	ReasonTokenKeyUnknown      Reason = "token_key_unknown"
	ReasonTokenAlgorithm       Reason = "token_algorithm"
	ReasonTokenType            Reason = "token_type"
	ReasonTokenClaims          Reason = "token_claims"
	ReasonTokenExpired         Reason = "token_expired"
	ReasonTokenNotYetValid     Reason = "token_not_yet_valid"
	ReasonTokenIssuer          Reason = "token_issuer"
	ReasonTokenAudience        Reason = "token_audience"
	ReasonTokenTooLarge        Reason = "token_too_large"
	ReasonIssuerUnavailable    Reason = "issuer_unavailable"
	ReasonPolicyUnavailable    Reason = "policy_unavailable"
	ReasonPolicyMoved          Reason = "policy_moved"
	ReasonLeaseExpired         Reason = "lease_expired"
	ReasonRecordUnavailable    Reason = "record_unavailable"
	ReasonSignerUnavailable    Reason = "signer_unavailable"
	ReasonOverloaded           Reason = "overloaded"
	ReasonRateLimited          Reason = "rate_limited"
	ReasonClockUntrusted       Reason = "clock_untrusted"
	ReasonShuttingDown         Reason = "shutting_down"
	ReasonCertificateMissing   Reason = "certificate_missing"
	ReasonCertificateUntrusted Reason = "certificate_untrusted"
	ReasonAssertionMissing     Reason = "assertion_missing"
)
