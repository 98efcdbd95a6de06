package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// dpopCases are about RFC 9449 at the token endpoint (DP).
func dpopCases() []testCase {
	return []testCase{
		{"DP-1", "exactly one DPoP header, and it is one JWT", oneProof},
		{"DP-2", "typ, alg, jwk and signature of a proof", badProofHeaders},
		{"DP-3", "jti, htm, htu and iat of a proof", badProofClaims},
		{"DP-4", "a proof is of now", proofTime},
		{"DP-5", "a proof is used once", proofOnce},
		{"DP-6", "a bound token says DPoP, a bad proof is invalid_dpop_proof", proofBinds},
		{"DP-7", "cnf.jkt is the thumbprint of the key", proofBinds},
		{"DP-10", "a nonce that the server did not give is refused", proofNonce},
		{"DP-12", "no bound token without a proof", proofRequired},
		{"DP-13", "a proof beside a certificate binds as documented", proofBinds},
		{"H20", "hostile proofs", func(t *t) { oneProof(t); badProofHeaders(t); badProofClaims(t); proofTime(t); proofOnce(t) }},
	}
}

// prover makes proofs with a key of its own.
type prover struct {
	key   *ecdsa.PrivateKey
	nonce string
	url   string
}

func (t *t) needDPoP() *prover {
	t.need(t.metadata["dpop_signing_alg_values_supported"] != nil, "the metadata has no dpop_signing_alg_values_supported")
	t.need(t.profile.DPoP != nil, "the profile has no dpop target")
	return &prover{key: newKey(), url: t.token}
}

func (p *prover) jwk() jose.JSONWebKey { return jose.JSONWebKey{Key: p.key.Public()} }

// proof returns a good proof but for what is changed.
func (p *prover) proof(header, claims map[string]any) string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	h := map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": p.jwk()}
	c := map[string]any{"jti": hex.EncodeToString(id[:]), "htm": http.MethodPost, "htu": p.url, "iat": time.Now().Unix()}
	if p.nonce != "" {
		c["nonce"] = p.nonce
	}
	input := b64(object(h, header)) + "." + b64(object(c, claims))
	return input + "." + b64(signature(p.key, input))
}

// prove sends proofs. A server that wants its nonce in them gets it.
func (t *t) prove(p *prover, proofs func() []string) answer {
	send := func() answer {
		return t.ask(call{client: "caller", form: self(t.profile.DPoP), header: http.Header{"Dpop": proofs()}})
	}
	a := send()
	if nonce := a.header.Get("DPoP-Nonce"); a.text("error") == "use_dpop_nonce" && nonce != "" && nonce != p.nonce {
		p.nonce = nonce
		a = send()
	}
	return a
}

func (t *t) goodProof(p *prover, what string) map[string]any {
	return t.granted(t.prove(p, func() []string { return []string{p.proof(nil, nil)} }), what)
}

func (t *t) badProof(p *prover, what string, proof func() string) {
	a := t.prove(p, func() []string { return []string{proof()} })
	t.refused(a, what, "invalid_dpop_proof")
	t.hold(a.err != nil || a.status == http.StatusBadRequest, "%s: %d", what, a.status)
}

func oneProof(t *t) {
	p := t.needDPoP()
	t.goodProof(p, "one proof")
	a := t.prove(p, func() []string { return []string{p.proof(nil, nil), p.proof(nil, nil)} })
	t.refused(a, "two proofs", "invalid_dpop_proof")
	for what, spoil := range map[string]func() string{
		"two in one":    func() string { return p.proof(nil, nil) + ", " + p.proof(nil, nil) },
		"none":          func() string { return "" },
		"no JWT":        func() string { return "x" },
		"a part more":   func() string { return p.proof(nil, nil) + ".x" },
		"with its name": func() string { return "DPoP " + p.proof(nil, nil) },
	} {
		t.badProof(p, what, spoil)
	}
}

func badProofHeaders(t *t) {
	p := t.needDPoP()
	t.goodProof(p, "a good proof")
	private, other := jose.JSONWebKey{Key: p.key}, jose.JSONWebKey{Key: newKey().Public()}
	for what, header := range map[string]map[string]any{
		"typ JWT": {"typ": "JWT"}, "no typ": {"typ": nil}, "typ at+jwt": {"typ": "at+jwt"}, "no jwk": {"jwk": nil}, "a private jwk": {"jwk": private}, "another jwk": {"jwk": other},
		"a secret as jwk": {"alg": "HS256", "jwk": map[string]any{"kty": "oct", "k": "AAAA"}}, "alg none": {"alg": "none"}, "alg HS256": {"alg": "HS256"}, "alg RS256": {"alg": "RS256"}, "no alg": {"alg": nil},
		"jwk that is text": {"jwk": "x"}, "crit": {"crit": []string{"x"}, "x": 1},
	} {
		t.badProof(p, what, func() string { return p.proof(header, nil) })
	}
	t.badProof(p, "another signature", func() string {
		proof := p.proof(nil, nil)
		return proof[:strings.LastIndexByte(proof, '.')+1] + b64(make([]byte, 64))
	})
}

func badProofClaims(t *t) {
	p := t.needDPoP()
	t.goodProof(p, "a good proof")
	for what, claims := range map[string]map[string]any{
		"no jti": {"jti": nil}, "no htm": {"htm": nil}, "no htu": {"htu": nil}, "no iat": {"iat": nil}, "htm GET": {"htm": "GET"}, "htm post": {"htm": "post"}, "jti that is a number": {"jti": 1},
		"another htu": {"htu": "https://elsewhere.invalid/token"}, "another path": {"htu": p.url + "/x"}, "plain http": {"htu": "http" + strings.TrimPrefix(p.url, "https")}, "iat that is text": {"iat": "x"},
		"an empty jti": {"jti": ""},
	} {
		t.badProof(p, what, func() string { return p.proof(nil, claims) })
	}
	u, err := url.Parse(p.url)
	t.must(err == nil, "%v", err)
	for what, htu := range map[string]string{"a query": p.url + "?a=b", "a fragment": p.url + "#a", "the host in capitals": "https://" + strings.ToUpper(u.Host) + u.Path} {
		t.granted(t.prove(p, func() []string { return []string{p.proof(nil, map[string]any{"htu": htu})} }), "htu with "+what)
	}
}

func proofTime(t *t) {
	p := t.needDPoP()
	t.goodProof(p, "a proof of now")
	for _, off := range []time.Duration{-24 * time.Hour, -10 * time.Minute, 10 * time.Minute, time.Hour} {
		t.badProof(p, fmt.Sprint("iat ", off), func() string { return p.proof(nil, map[string]any{"iat": time.Now().Add(off).Unix()}) })
	}
}

func proofOnce(t *t) {
	p := t.needDPoP()
	t.goodProof(p, "a nonce, if there is one") // so that the next proof is not asked for again
	proof := p.proof(nil, nil)
	twice := func() []string { return []string{proof} }
	t.granted(t.prove(p, twice), "once")
	t.refused(t.prove(p, twice), "again", "invalid_dpop_proof")
}

func proofBinds(t *t) {
	p := t.needDPoP()
	body := t.goodProof(p, "a good proof")
	t.hold(str(body, "token_type") == "DPoP", "token_type is %v", body["token_type"])
	cnf, _ := payload(str(body, "access_token"))["cnf"].(map[string]any)
	jwk := p.jwk()
	sum, err := jwk.Thumbprint(crypto.SHA256)
	t.hold(err == nil && str(cnf, "jkt") == b64(sum) && len(cnf) == 1, "cnf is %v, the key %s", cnf, b64(sum))
	t.badProof(p, "no proof", func() string { return "x" })
}

func proofNonce(t *t) {
	p := t.needDPoP()
	form := self(t.profile.DPoP)
	a := t.ask(call{client: "caller", form: form, header: http.Header{"Dpop": {p.proof(nil, map[string]any{"nonce": "made-up"})}}})
	t.need(a.status != http.StatusOK || a.header.Get("DPoP-Nonce") != "", "the server uses no nonces")
	t.refused(a, "a nonce that was made up", "use_dpop_nonce", "invalid_dpop_proof")
	t.hold(a.text("error") != "use_dpop_nonce" || len(a.header.Values("DPoP-Nonce")) == 1, "DPoP-Nonce is %q", a.header.Values("DPoP-Nonce"))
	t.goodProof(p, "with the nonce of the server")
}

func proofRequired(t *t) {
	t.needDPoP()
	t.refused(t.caller(self(t.profile.DPoP)), "no DPoP header", "invalid_request", "invalid_dpop_proof")
}
