package tokenapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/web"
)

const headerProof, headerNonce = "Dpop", "Dpop-Nonce" // as net/http spells them

// proofKey returns the thumbprint of the key that the request's DPoP proof
// proves, "" for a request without one. Whether a proof is needed is policy's to
// say; one that is sent must be good (RFC 9449 section 5). Where nonces are
// demanded every answer to a proof has the next one.
func (a *api) proofKey(w *web.Response, r *http.Request) (string, error) {
	headers := r.Header[headerProof]
	switch {
	case len(headers) == 0:
		return "", nil
	case a.Proofs == nil:
		return "", broker.Errorf(broker.CodeInvalidProof, broker.ReasonDPoPUnread, "DPoP proofs are not read here")
	}
	if nonce := a.Proofs.Nonce(w.At); nonce != "" {
		w.Header()[headerNonce] = []string{nonce}
	}
	proof, err := a.Proofs.Verify(headers, dpop.Request{At: w.At, Method: r.Method, URLs: []string{a.URL + PathToken}})
	if err != nil {
		return "", refusedProof(err)
	}
	return proof.Key, nil
}

// refusedProof turns a refusal of package dpop into one of the domain, which has
// the same reasons.
func refusedProof(err error) error {
	var refused *dpop.Error
	if !errors.As(err, &refused) {
		return err
	}
	code := broker.CodeInvalidProof
	switch refused.Reason {
	case dpop.ReasonNonce:
		code = broker.CodeNonceRequired
	case dpop.ReasonOverloaded:
		return broker.Unavailable(broker.ReasonDPoPOverloaded, time.Second, refused.Err)
	}
	return &broker.Error{Code: code, Reason: broker.Reason(refused.Reason), Public: refused.Reason.Text(), Err: refused.Err}
}

// proofAlgorithms is what the metadata say of proofs.
func proofAlgorithms() []string {
	var names []string
	for _, a := range dpop.Algorithms() {
		names = append(names, string(a))
	}
	return names
}
