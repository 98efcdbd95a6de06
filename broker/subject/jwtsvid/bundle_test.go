package jwtsvid_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
)

// entry is a JWK of an EC key with changes to its members.
func entry(t testing.TB, kid string, changes object) object {
	t.Helper()
	text, err := jose.JSONWebKey{Key: newKey(t).Public(), KeyID: kid}.MarshalJSON()
	must(t, err)
	var members object
	must(t, json.Unmarshal(text, &members))
	return members.with(changes)
}

func document(t testing.TB, entries ...any) []byte {
	t.Helper()
	if entries == nil {
		entries = []any{}
	}
	text, err := json.Marshal(object{"keys": entries, "spiffe_sequence": 1, "spiffe_refresh_hint": 300})
	must(t, err)
	return text
}

func ids(keys []jws.Key) string {
	var list []string
	for _, k := range keys {
		list = append(list, k.ID()+" "+string(k.Algorithm()))
	}
	return strings.Join(list, ", ")
}

// SJ-7, SB-2: of a SPIFFE bundle the keys for JWT-SVIDs and no others; of the answer
// of the Workload API all that do not say that they are something else.
func TestWhichKeysCount(t *testing.T) {
	t.Parallel()
	svid := object{"use": "jwt-svid"}
	for name, test := range map[string]struct {
		document    []byte
		bundle, api string // what is taken of it as either
	}{
		"empty":             {document(t), "", ""},
		"jwt-svid":          {document(t, entry(t, "a", svid)), "a ES256", "a ES256"},
		"two":               {document(t, entry(t, "b", svid), entry(t, "a", svid)), "b ES256, a ES256", "b ES256, a ES256"},
		"no use":            {document(t, entry(t, "a", nil)), "", "a ES256"},
		"sig":               {document(t, entry(t, "a", object{"use": "sig"})), "", "a ES256"},
		"empty use":         {document(t, entry(t, "a", object{"use": ""})), "", "a ES256"},
		"x509-svid":         {document(t, entry(t, "a", object{"use": "x509-svid"})), "", ""},
		"wit-svid":          {document(t, entry(t, "a", object{"use": "wit-svid"})), "", ""},
		"JWT-SVID":          {document(t, entry(t, "a", object{"use": "JWT-SVID"})), "", ""},
		"enc":               {document(t, entry(t, "a", object{"use": "enc"})), "", ""},
		"use a number":      {document(t, entry(t, "a", object{"use": 1})), "", ""},
		"use null":          {document(t, entry(t, "a", object{"use": json.RawMessage("null")})), "", ""},
		"the same kid":      {document(t, entry(t, "a", svid), entry(t, "a", object{"use": "wit-svid"})), "a ES256", "a ES256"},
		"one alg":           {document(t, entry(t, "a", svid.with(object{"alg": "ES256"}))), "a ES256", "a ES256"},
		"another algorithm": {document(t, entry(t, "a", svid.with(object{"alg": "ES384"})), entry(t, "b", svid)), "b ES256", "b ES256"},
		"not to verify":     {document(t, entry(t, "a", svid.with(object{"key_ops": []string{"sign"}})), entry(t, "b", svid)), "b ES256", "b ES256"},
		"no kid":            {document(t, entry(t, "", svid), entry(t, "b", svid)), "b ES256", "b ES256"},
		"kid a number":      {document(t, entry(t, "a", svid.with(object{"kid": 1})), entry(t, "b", svid)), "b ES256", "b ES256"},
		"Ed25519":           {document(t, object{"kty": "OKP", "crv": "Ed25519", "kid": "a", "use": "jwt-svid", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}), "", ""},
	} {
		keys, skipped, err := jwtsvid.ParseBundle(test.document)
		if err != nil || ids(keys) != test.bundle {
			t.Errorf("%s, as a bundle: %q, %v, %v", name, ids(keys), skipped, err)
		}
		keys, skipped, err = jwtsvid.ParseJWTBundle(test.document)
		if err != nil || ids(keys) != test.api {
			t.Errorf("%s, from the Workload API: %q, %v, %v", name, ids(keys), skipped, err)
		}
	}
}

// A person hears of a key that is meant for us and cannot be used, and of no other.
func TestSkippedIsTold(t *testing.T) {
	t.Parallel()
	svid := object{"use": "jwt-svid"}
	doc := document(t, entry(t, "x", object{"use": "x509-svid"}), entry(t, "", svid), entry(t, "a", svid), entry(t, "b", svid.with(object{"crv": "P-999"})))
	keys, skipped, err := jwtsvid.ParseBundle(doc)
	if text := errors.Join(skipped...).Error(); err != nil || ids(keys) != "a ES256" || len(skipped) != 2 || !strings.Contains(text, "key 0: no kid") || !strings.Contains(text, "key 2: of an unknown kind") {
		t.Errorf("%q, %v, %v", ids(keys), skipped, err)
	}
}

// SB-1, JK-7: what is refused whole, so that the last good bundle stays.
func TestBundleRefuses(t *testing.T) {
	t.Parallel()
	svid := object{"use": "jwt-svid"}
	many := make([]any, 65)
	for i := range many {
		many[i] = svid.with(object{"kty": "x", "kid": strings.Repeat("k", i+1)})
	}
	for name, test := range map[string]struct {
		document []byte
		want     error
	}{
		"nothing":           {nil, jws.ErrKeySet},
		"not JSON":          {[]byte("x"), jws.ErrKeySet},
		"no keys":           {[]byte(`{"spiffe_sequence":1}`), jws.ErrKeySet},
		"keys null":         {[]byte(`{"keys":null}`), jws.ErrKeySet},
		"keys twice":        {[]byte(`{"keys":[],"keys":[]}`), jws.ErrKeySet},
		"KEYS":              {[]byte(`{"KEYS":[]}`), jws.ErrKeySet},
		"keys no array":     {[]byte(`{"keys":{}}`), jws.ErrKeySet},
		"keys of text":      {[]byte(`{"keys":["x"]}`), jws.ErrKeySet},
		"kid twice":         {document(t, entry(t, "a", svid), entry(t, "a", svid)), jws.ErrKeySet},
		"a private key":     {document(t, entry(t, "a", svid), entry(t, "b", svid.with(object{"d": "AA"}))), jws.ErrPrivateKey},
		"private, nameless": {document(t, entry(t, "", svid.with(object{"d": "AA"}))), jws.ErrPrivateKey},
		"symmetric":         {document(t, object{"kty": "oct", "k": "AA", "kid": "a", "use": "jwt-svid"}), jws.ErrPrivateKey},
		"too many":          {document(t, many...), jws.ErrKeySet},
		"too large":         {append(document(t), bytes.Repeat([]byte(" "), jws.MaxKeySetBytes)...), jws.ErrKeySet},
		"deep":              {[]byte(`{"keys":[],"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`), jws.ErrKeySet},
	} {
		for as, parse := range map[string]func([]byte) ([]jws.Key, []error, error){"bundle": jwtsvid.ParseBundle, "Workload API": jwtsvid.ParseJWTBundle} {
			if keys, _, err := parse(test.document); !errors.Is(err, test.want) || keys != nil {
				t.Errorf("%s as %s: %d keys, %v", name, as, len(keys), err)
			}
		}
	}
}

// What go-spiffe and the development CA write is read.
func TestBundlesOfOthers(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	bundle := spiffebundle.FromJWTAuthorities(prod, map[string]crypto.PublicKey{"a": key.Public()})
	ca, err := trust.New(prod, now.Local)
	must(t, err)
	bundle.AddX509Authority(ca.Bundle().X509Authorities()[0])
	bundle.SetSequenceNumber(7)
	text, err := bundle.Marshal()
	must(t, err)
	keys, skipped, err := jwtsvid.ParseBundle(text)
	if err != nil || len(skipped) > 0 || ids(keys) != "a ES256" || !key.PublicKey.Equal(keys[0].Public()) {
		t.Errorf("SPIFFE bundle: %q, %v, %v", ids(keys), skipped, err)
	}
	text, err = jwtbundle.FromJWTAuthorities(prod, map[string]crypto.PublicKey{"a": key.Public()}).Marshal()
	must(t, err)
	keys, skipped, err = jwtsvid.ParseJWTBundle(text)
	if err != nil || len(skipped) > 0 || ids(keys) != "a ES256" || !key.PublicKey.Equal(keys[0].Public()) {
		t.Errorf("JWT bundle: %q, %v, %v", ids(keys), skipped, err)
	}
}

// FuzzParseBundle: what is taken has an ID and one of the algorithms, and go-spiffe
// takes it too.
func FuzzParseBundle(f *testing.F) {
	for _, seed := range [][]byte{
		document(f, entry(f, "a", object{"use": "jwt-svid"})), document(f, entry(f, "a", nil), entry(f, "b", object{"use": "x509-svid"})), document(f),
		[]byte(`{"keys":[{"use":"jwt-svid","kid":"a","kty":"RSA","n":"AQAB","e":"AQAB"}]}`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		strict, _, errStrict := jwtsvid.ParseBundle(text)
		wide, _, errWide := jwtsvid.ParseJWTBundle(text)
		if errWide == nil && errStrict == nil && len(strict) > len(wide) {
			t.Fatalf("%q: %d keys, from the Workload API %d", text, len(strict), len(wide))
		}
		if errStrict != nil && strict != nil || errWide != nil && wide != nil {
			t.Fatalf("%q: keys of what is refused", text)
		}
		for _, k := range wide {
			if k.ID() == "" || k.Algorithm() == jws.EdDSA || k.Algorithm() == jws.Ed25519 || !k.Algorithm().Known() {
				t.Fatalf("%q: %q for %q", text, k.ID(), k.Algorithm())
			}
		}
	})
}

// The zero value trusts nobody; what is set is all that is trusted.
func TestTrust(t *testing.T) {
	t.Parallel()
	var trusted jwtsvid.Trust
	if _, ok := trusted.Keys(prod); ok {
		t.Error("the zero value trusts somebody")
	}
	a, b := public(t, "a", jws.ES256, newKey(t)), public(t, "b", jws.ES256, newKey(t))
	if told := trusted.Set(map[spiffeid.TrustDomain][]jws.Key{prod: {a, {}}, partner: {b, {}}}); len(told) != 0 {
		t.Errorf("told %q of nothing", told)
	}
	keys, ok := trusted.Keys(prod)
	if _, found := keys.Lookup("a", jws.ES256); !ok || !found {
		t.Error("the key is not there")
	}
	if _, found := keys.Lookup("b", jws.ES256); found {
		t.Error("bundles are merged")
	}
	trusted.Set(map[spiffeid.TrustDomain][]jws.Key{partner: {}})
	if _, ok := trusted.Keys(prod); ok {
		t.Error("what is not named is still trusted")
	}
	if keys, ok := trusted.Keys(partner); !ok || keys.Len() != 0 {
		t.Error("an empty bundle is one")
	}
	told := trusted.Set(map[spiffeid.TrustDomain][]jws.Key{prod: {{}, a, b, a}, partner: {{}, b, a}, spiffeid.RequireTrustDomainFromString("third.example"): {a}})
	if len(told) != 2 || !strings.Contains(strings.Join(told, "\n"), "partner.example, prod.example, third.example share") {
		t.Errorf("told %q", told)
	}
}

// Readers find the old bundles or the new ones, never a part of either.
func TestTrustAtOnce(t *testing.T) {
	t.Parallel()
	var trusted jwtsvid.Trust
	sets := []map[spiffeid.TrustDomain][]jws.Key{{}, {}}
	for i := range sets {
		for _, domain := range []spiffeid.TrustDomain{prod, partner} {
			sets[i][domain] = []jws.Key{public(t, "k"+string(rune('0'+i)), jws.ES256, newKey(t))}
		}
	}
	trusted.Set(sets[0])
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for i := range 1000 {
			trusted.Set(sets[i%2])
		}
	})
	for open := true; open; {
		keys, ok := trusted.Keys(prod)
		_, old := keys.Lookup("k0", jws.ES256)
		_, young := keys.Lookup("k1", jws.ES256)
		if !ok || old == young {
			t.Fatalf("%t: %t, %t", ok, old, young)
		}
		select {
		case <-done:
			open = false
		default:
		}
	}
	wg.Wait()
}
