package main

import (
	"crypto"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// tokenCases are about the tokens that the server makes (AT, JK).
func tokenCases() []testCase {
	return []testCase{
		{"AT-1", "iss, exp, aud, sub, client_id, iat and jti are there", requiredClaims},
		{"AT-2", "typ is at+jwt, alg asymmetric, kid in the key set, and the signature verifies", tokenHeader},
		{"AT-3", "a token without a user is about its client", clientIsSubject},
		{"AT-4", "the claim scope says what was given", tokenScope},
		{"AT-5", "aud is the resource that was asked for", tokenAudience},
		{"AT-6", "no token for an ambiguous request", severalTargets},
		{"AT-8", "acr and amr are not invented", noInventedAuthentication},
		{"AT-9", "groups, roles and entitlements are arrays of strings", groupsAreLists},
		{"AT-10", "a token fits into a header", tokenSize},
		{"BC-5", "no client can be taken for a user", clientIsSubject},
		{"JK-1", "the key set holds public keys with kid, use and alg", publicKeys},
		{"JK-2", "each kid is unique, and the thumbprint of its key", thumbprints},
	}
}

// jwt returns the good token of the profile, which must be a JWT.
func (t *t) jwt() string {
	token := str(t.granted(t.caller(t.good()), "the good request of the profile"), "access_token")
	t.need(payload(token) != nil, "the access token is not a JWT")
	return token
}

func requiredClaims(t *t) {
	claims := payload(t.jwt())
	for _, name := range []string{"iss", "sub", "client_id", "jti"} {
		t.hold(str(claims, name) != "", "%s is %v", name, claims[name])
	}
	for _, name := range []string{"exp", "iat"} {
		_, ok := claims[name].(float64)
		t.hold(ok, "%s is %v", name, claims[name])
	}
	t.hold(str(claims, "iss") == t.issuer, "iss is %q", str(claims, "iss"))
	t.hold(len(audiences(claims)) > 0, "aud is %v", claims["aud"])
	t.hold(str(claims, "jti") != str(payload(t.jwt()), "jti"), "two tokens have the same jti")
}

func tokenHeader(t *t) {
	token := t.jwt()
	h := header(token)
	t.hold(strings.EqualFold(strings.TrimPrefix(str(h, "typ"), "application/"), "at+jwt"), "typ is %v", h["typ"])
	asymmetric := []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
	parsed, err := jose.ParseSignedCompact(token, asymmetric)
	t.must(err == nil, "the token cannot be read: %v", err)
	found := false
	for _, key := range t.keys().Keys {
		if key.KeyID == str(h, "kid") && key.KeyID != "" {
			_, err := parsed.Verify(key)
			found = true
			t.hold(err == nil, "the signature does not verify with the key %s: %v", key.KeyID, err)
		}
	}
	t.hold(found, "the key set has no key %q", str(h, "kid"))
}

func clientIsSubject(t *t) {
	claims := payload(str(t.granted(t.caller(self(t.needSelf())), "the self of the profile"), "access_token"))
	t.need(claims != nil, "the access token is not a JWT")
	t.hold(str(claims, "sub") == t.needClient("caller").name(), "sub is %q", str(claims, "sub"))
	t.hold(claims["act"] == nil, "act is %v", claims["act"])
	if t.profile.Subject != nil && t.profile.Subject.forger.key != nil && t.profile.Exchange != nil {
		// A user who is called as the client is: the token must tell them apart.
		to, f := t.needExchange()
		a := t.caller(exchange(to, f.with(map[string]any{"sub": str(claims, "sub")}), t.profile.Subject.Type))
		t.hold(a.status != 200 || str(payload(a.text("access_token")), "sub") != str(claims, "sub"), "a user has the sub of the client")
	}
}

func tokenScope(t *t) {
	claims := payload(t.jwt())
	t.hold(equal(scopes(str(claims, "scope")), scopes(t.good().Get("scope"))), "scope is %v", claims["scope"])
}

func tokenAudience(t *t) {
	aud := audiences(payload(t.jwt()))
	t.hold(slices.Equal(aud, []string{named(t.good())}), "aud is %q, want %q", aud, named(t.good()))
}

func noInventedAuthentication(t *t) {
	t.needSelf()
	claims := payload(str(t.granted(t.caller(self(t.needSelf())), "the self of the profile"), "access_token"))
	t.need(claims != nil, "the access token is not a JWT")
	for _, name := range []string{"acr", "amr", "auth_time"} {
		t.hold(claims[name] == nil, "a workload's token has %s", name)
	}
	if t.profile.Exchange != nil && t.profile.Subject != nil {
		user := payload(t.jwt())
		for _, name := range []string{"acr", "amr", "auth_time"} {
			t.hold(user[name] == nil || t.profile.Subject.Claims[name] != nil, "%s is new", name)
		}
	}
}

func groupsAreLists(t *t) {
	claims := payload(t.jwt())
	seen := false
	for _, name := range []string{"groups", "roles", "entitlements"} {
		if claims[name] == nil {
			continue
		}
		seen = true
		values, ok := claims[name].([]any)
		t.hold(ok && len(list(claims, name)) == len(values), "%s is %v", name, claims[name])
	}
	t.need(seen, "the token of the profile has none of them")
}

func tokenSize(t *t) {
	size := len(t.jwt())
	t.hold(size <= 8<<10, "the token has %d bytes", size)
}

// keys reads the key set.
func (t *t) keys() jose.JSONWebKeySet {
	a := t.document("jwks_uri")
	kind := a.header.Get("Content-Type")
	t.hold(strings.HasPrefix(kind, "application/jwk-set+json") || strings.HasPrefix(kind, "application/json"), "the content type of the key set is %q", kind)
	var set jose.JSONWebKeySet
	members, err := a.object()
	t.must(err == nil, "the key set is not one JSON object: %v", err)
	raw, _ := members["keys"].([]any)
	t.must(len(raw) > 0, "the key set is empty")
	for _, member := range raw {
		var key jose.JSONWebKey
		object, _ := member.(map[string]any)
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
			t.must(object[private] == nil, "a key has the member %s", private)
		}
		if err := key.UnmarshalJSON(objectBytes(object)); t.hold(err == nil, "a key cannot be read: %v", err) {
			set.Keys = append(set.Keys, key)
		}
	}
	return set
}

func objectBytes(members map[string]any) []byte {
	if members == nil {
		return []byte("null")
	}
	return object(members, nil)
}

func publicKeys(t *t) {
	for _, key := range t.keys().Keys {
		t.hold(key.KeyID != "" && key.Use == "sig" && key.Algorithm != "", "a key has kid %q, use %q, alg %q", key.KeyID, key.Use, key.Algorithm)
		t.hold(key.IsPublic() && key.Valid(), "the key %s is not a valid public key", key.KeyID)
	}
}

func thumbprints(t *t) {
	seen := map[string]bool{}
	for _, key := range t.keys().Keys {
		t.hold(!seen[key.KeyID], "the kid %s is there twice", key.KeyID)
		seen[key.KeyID] = true
		sum, err := key.Thumbprint(crypto.SHA256)
		t.hold(err == nil && b64(sum) == key.KeyID, "the kid %s is not the thumbprint %s", key.KeyID, b64(sum))
	}
}
