package jws_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/cambist/cambist/broker/jws"
)

func ecEntry(t *testing.T, kid string) string {
	t.Helper()
	key, err := jws.NewKey(kid, jws.ES256, privateKey(t, jws.ES256).Public())
	if err != nil {
		t.Fatal(err)
	}
	body, err := jws.MarshalKeySet([]jws.Key{key})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(body), `{"keys":[`), `]}`)
}

// Standards JK-1, 5, 6, 7, threats B18, I4.
func TestParseKeySet(t *testing.T) {
	t.Parallel()
	a, b := ecEntry(t, "a"), ecEntry(t, "b")
	type want struct {
		keys, skipped int
		err           error
	}
	tests := map[string]struct {
		body string
		want want
	}{
		"two":                   {`{"keys":[` + a + `,` + b + `]}`, want{2, 0, nil}},
		"empty":                 {`{"keys":[]}`, want{}},
		"no keys":               {`{}`, want{0, 0, jws.ErrKeySet}},
		"an error page":         {`{"error":"busy"}`, want{0, 0, jws.ErrKeySet}},
		"keys null":             {`{"keys":null}`, want{0, 0, jws.ErrKeySet}},
		"keys an object":        {`{"keys":{}}`, want{0, 0, jws.ErrKeySet}},
		"KEYS":                  {`{"KEYS":[]}`, want{0, 0, jws.ErrKeySet}},
		"cut":                   {`{"keys":[` + a, want{0, 0, jws.ErrKeySet}},
		"two sets":              {`{"keys":[]}{"keys":[]}`, want{0, 0, jws.ErrKeySet}},
		"kid twice, one bad":    {`{"keys":[` + a + `,{"kty":"AKP","kid":"a"}]}`, want{0, 0, jws.ErrKeySet}},
		"no kid twice":          {`{"keys":[` + strings.Replace(a, `"kid":"a",`, "", 1) + `,` + strings.Replace(b, `"kid":"b",`, "", 1) + `]}`, want{2, 0, nil}},
		"member twice in a key": {`{"keys":[` + strings.Replace(a, `"kid":"a"`, `"kid":"a","kid":"c"`, 1) + `]}`, want{0, 0, jws.ErrKeySet}},
		"kid a number":          {`{"keys":[` + strings.Replace(a, `"kid":"a"`, `"kid":1`, 1) + `]}`, want{0, 1, nil}},
		"private null":          {`{"keys":[` + strings.Replace(a, `"kid"`, `"d":null,"kid"`, 1) + `]}`, want{0, 0, jws.ErrPrivateKey}},
		"private, unread":       {`{"keys":[{"kid":1,"d":"AA"}]}`, want{0, 0, jws.ErrPrivateKey}},
		"for signing alone":     {`{"keys":[` + strings.Replace(a, `"use":"sig"`, `"key_ops":["sign"]`, 1) + `]}`, want{0, 1, nil}},
		"for verifying":         {`{"keys":[` + strings.Replace(a, `"use":"sig"`, `"key_ops":["verify"]`, 1) + `]}`, want{1, 0, nil}},
		"no use":                {`{"keys":[` + strings.Replace(a, `"use":"sig",`, ``, 1) + `]}`, want{1, 0, nil}},
		"no alg":                {`{"keys":[` + strings.Replace(a, `,"alg":"ES256"`, ``, 1) + `]}`, want{1, 0, nil}},
		"alg of RSA":            {`{"keys":[` + strings.Replace(a, `"alg":"ES256"`, `"alg":"RS256"`, 1) + `]}`, want{0, 1, nil}},
		"bad certificate":       {`{"keys":[` + strings.Replace(a, `"kid"`, `"x5c":["AA"],"x5t":"!","x5u":"::","kid"`, 1) + `]}`, want{1, 0, nil}},
		"EC x short":            {`{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"` + strings.Repeat("A", 43) + `"}]}`, want{0, 1, nil}},
		"EC y long":             {`{"keys":[{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 44) + `"}]}`, want{0, 1, nil}},
		"EC x shifted to y":     {`{"keys":[` + shiftCoordinates(t, a) + `]}`, want{0, 1, nil}},
		"EC bad base64":         {`{"keys":[{"kty":"EC","crv":"P-256","x":"!","y":"!"}]}`, want{0, 1, nil}},
		"EC another curve":      {`{"keys":[` + strings.Replace(a, `"P-256"`, `"P-384"`, 1) + `]}`, want{0, 1, nil}},
		"secp256k1":             {`{"keys":[` + strings.Replace(a, `"P-256"`, `"secp256k1"`, 1) + `]}`, want{0, 1, nil}},
		"RSA for two":           {`{"keys":[` + rsaEntry(2048, "AQAB") + `]}`, want{1, 0, nil}},
		"RSA 8192":              {`{"keys":[` + rsaEntry(8192, "AQAB") + `]}`, want{1, 0, nil}},
		"RSA 8193":              {`{"keys":[` + rsaEntry(8193, "AQAB") + `]}`, want{0, 1, nil}},
		"RSA e 1":               {`{"keys":[` + rsaEntry(2048, "AQ") + `]}`, want{0, 1, nil}},
		"RSA e even":            {`{"keys":[` + rsaEntry(2048, "BA") + `]}`, want{0, 1, nil}},
		"RSA e 2^64+65537":      {`{"keys":[` + rsaEntry(2048, "AQAAAAAAAQAB") + `]}`, want{0, 1, nil}},
		"RSA e bad":             {`{"keys":[` + rsaEntry(2048, "!") + `]}`, want{0, 1, nil}},
		"RSA e missing":         {`{"keys":[` + rsaEntry(2048, "") + `]}`, want{0, 1, nil}},
		"RSA n bad":             {`{"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]}`, want{0, 1, nil}},
		"RSA n missing":         {`{"keys":[{"kty":"RSA","e":"AQAB"}]}`, want{0, 1, nil}},
		"exactly as large":      {`{"keys":[]` + strings.Repeat(" ", jws.MaxKeySetBytes-11) + `}`, want{}},
		"exactly as many":       {`{"keys":[` + strings.Repeat(`{"kty":"x"},`, 63) + `{"kty":"x"}]}`, want{0, 64, nil}},
		"unknown kty":           {`{"keys":[{"kty":"AKP","alg":"ML-DSA-44","kid":"x","pub":"AA"},` + a + `]}`, want{1, 1, nil}},
		"for encryption":        {`{"keys":[` + strings.Replace(a, `"use":"sig"`, `"use":"enc"`, 1) + `]}`, want{0, 1, nil}},
		"alg not allowed":       {`{"keys":[` + strings.Replace(a, `"alg":"ES256"`, `"alg":"ES384"`, 1) + `]}`, want{0, 1, nil}},
		"off the curve":         {`{"keys":[{"kty":"EC","crv":"P-256","kid":"x","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}]}`, want{0, 1, nil}},
		"RSA 512":               {`{"keys":[{"kty":"RSA","kid":"x","n":"` + strings.Repeat("_", 86) + `","e":"AQAB"}]}`, want{0, 1, nil}},
		"private":               {`{"keys":[` + a + `,` + strings.Replace(b, `"kty"`, `"d":"AA","kty"`, 1) + `]}`, want{0, 0, jws.ErrPrivateKey}},
		"symmetric":             {`{"keys":[{"kty":"oct","k":"AA"}]}`, want{0, 0, jws.ErrPrivateKey}},
		"kid twice":             {`{"keys":[` + a + `,` + strings.Replace(b, `"kid":"b"`, `"kid":"a"`, 1) + `]}`, want{0, 0, jws.ErrKeySet}},
		"member twice":          {`{"keys":[],"keys":[]}`, want{0, 0, jws.ErrKeySet}},
		"no object":             {`[]`, want{0, 0, jws.ErrKeySet}},
		"HTML":                  {`<html>`, want{0, 0, jws.ErrKeySet}},
		"too large":             {`{"keys":[]` + strings.Repeat(" ", jws.MaxKeySetBytes) + `}`, want{0, 0, jws.ErrKeySet}},
		"too many":              {`{"keys":[` + strings.Repeat(`{"kty":"x"},`, 64) + `{"kty":"x"}]}`, want{0, 0, jws.ErrKeySet}},
		"key is not object":     {`{"keys":[1]}`, want{0, 1, nil}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, skipped, err := jws.ParseKeySet([]byte(tt.body), []jws.Algorithm{jws.ES256, jws.RS256})
			if !errors.Is(err, tt.want.err) || err != nil && tt.want.err == nil || set.Len() != tt.want.keys || len(skipped) != tt.want.skipped {
				t.Errorf("%d keys, skipped %v, %v", set.Len(), skipped, err)
			}
		})
	}
}

// shiftCoordinates moves the last byte of x to the front of y, which is the same
// point when both are merely put together.
func shiftCoordinates(t *testing.T, entry string) string {
	t.Helper()
	var j map[string]string
	if err := json.Unmarshal([]byte(entry), &j); err != nil {
		t.Fatal(err)
	}
	x, errX := base64.RawURLEncoding.DecodeString(j["x"])
	y, errY := base64.RawURLEncoding.DecodeString(j["y"])
	if errX != nil || errY != nil {
		t.Fatal(errX, errY)
	}
	j["y"] = base64.RawURLEncoding.EncodeToString(append([]byte{x[31]}, y...))
	j["x"] = base64.RawURLEncoding.EncodeToString(x[:31])
	shifted, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	return string(shifted)
}

// rsaEntry is a key without alg; its modulus has that many bits and is nobody's.
func rsaEntry(bits uint, e string) string {
	n := new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(1), bits-1), 0, 1)
	return `{"kty":"RSA","kid":"r","n":"` + base64.RawURLEncoding.EncodeToString(n.Bytes()) + `","e":"` + e + `"}`
}

// A private member anywhere refuses the whole set, each by itself.
func TestParseKeySetPrivateMembers(t *testing.T) {
	t.Parallel()
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		body := `{"keys":[` + ecEntry(t, "a") + `,{"kty":"XX","` + member + `":"AA"}]}`
		if set, _, err := jws.ParseKeySet([]byte(body), algorithms); !errors.Is(err, jws.ErrPrivateKey) || set.Len() != 0 {
			t.Errorf("%s: %d keys, %v", member, set.Len(), err)
		}
	}
}

// Standards JW-20, JK-6: which algorithms a key without alg is for.
func TestParseKeySetAlgorithms(t *testing.T) {
	t.Parallel()
	okp := `{"kty":"OKP","crv":"Ed25519","kid":"o","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	tests := map[string]struct {
		entry   string
		allowed []jws.Algorithm
		want    []jws.Algorithm
	}{
		"RSA, all":              {rsaEntry(2048, "AQAB"), algorithms, algorithms[5:]},
		"RSA, one":              {rsaEntry(2048, "AQAB"), []jws.Algorithm{jws.PS384, jws.ES256}, []jws.Algorithm{jws.PS384}},
		"RSA, none":             {rsaEntry(2048, "AQAB"), nil, nil},
		"Ed25519, both":         {okp, algorithms, []jws.Algorithm{jws.EdDSA, jws.Ed25519}},
		"Ed25519, one":          {okp, []jws.Algorithm{jws.EdDSA}, []jws.Algorithm{jws.EdDSA}},
		"Ed25519, alg says one": {strings.Replace(okp, `"kid"`, `"alg":"Ed25519","kid"`, 1), algorithms, []jws.Algorithm{jws.Ed25519}},
		"Ed448":                 {strings.Replace(okp, "Ed25519", "Ed448", 1), algorithms, nil},
		"X25519":                {strings.Replace(okp, "Ed25519", "X25519", 1), algorithms, nil},
		"Ed25519 as EC":         {strings.Replace(okp, "OKP", "EC", 1), algorithms, nil},
		"Ed25519 short":         {strings.Replace(okp, "HURo", "", 1), algorithms, nil},
		"Ed25519 bad":           {strings.Replace(okp, "HURo", "!", 1), algorithms, nil},
	}
	for name, tt := range tests {
		set, _, err := jws.ParseKeySet([]byte(`{"keys":[`+tt.entry+`]}`), tt.allowed)
		if err != nil || set.Len() != len(tt.want) {
			t.Errorf("%s: %d keys, %v", name, set.Len(), err)
		}
		for _, a := range algorithms {
			if _, ok := set.Lookup("", a); ok != slices.Contains(tt.want, a) {
				t.Errorf("%s: %s %v", name, a, ok)
			}
		}
	}
}

// An operator reads why a key of an issuer is not used.
func TestParseKeySetSaysWhy(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]string{
		`1`:                                     "not a JWK",
		`{"kid":1}`:                             "not a JWK",
		`{"kty":"EC","use":"enc"}`:              "not for signatures",
		`{"kty":"AKP"}`:                         "of an unknown kind",
		`{"kty":"EC","crv":"secp256k1"}`:        "of an unknown kind",
		`{"kty":"OKP","crv":"X25519"}`:          "of an unknown kind",
		`{"kty":"oct","crv":"Ed25519"}`:         "of an unknown kind",
		`{"kty":"EC","crv":"P-256"}`:            "not well formed",
		`{"kty":"OKP","crv":"Ed25519","x":"!"}`: "not well formed",
		`{"kty":"RSA","n":"!","e":"AQAB"}`:      "not well formed",
		rsaEntry(2048, "!"):                     "not well formed",
		rsaEntry(2048, "AQAAAAE"):               "not well formed",
		rsaEntry(2048, "AQAAAQ"):                "",
		rsaEntry(1024, "AQAB"):                  "key does not fit the algorithm",
		`{"kty":"OKP","crv":"Ed25519"}`:         "key does not fit the algorithm",
		rsaEntry(2048, `AQAB","alg":"RS1`):      "for no algorithm that is allowed",
	} {
		_, skipped, err := jws.ParseKeySet([]byte(`{"keys":[`+entry+`]}`), algorithms)
		if want == "" && len(skipped) == 0 && err == nil {
			continue
		}
		if err != nil || len(skipped) != 1 || skipped[0].Error() != "key 0: "+want {
			t.Errorf("%s: %v, %v", entry, skipped, err)
		}
	}
}

// Standards JK-1: what is printed holds public members alone, in the order given,
// and we and go-jose read the same keys back.
func TestMarshalKeySet(t *testing.T) {
	t.Parallel()
	var keys []jws.Key
	for i, a := range algorithms {
		k, err := jws.NewKey(fmt.Sprintf("k%d\"", i), a, privateKey(t, a).Public())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	body, err := jws.MarshalKeySet(keys)
	if err != nil {
		t.Fatal(err)
	}
	set, skipped, err := jws.ParseKeySet(body, algorithms)
	if err != nil || len(skipped) > 0 || set.Len() != len(keys) {
		t.Fatal(set.Len(), skipped, err)
	}
	var printed struct{ Keys []map[string]string }
	var theirs jose.JSONWebKeySet
	if err := errors.Join(json.Unmarshal(body, &printed), json.Unmarshal(body, &theirs)); err != nil {
		t.Fatal(err)
	}
	public := map[string]string{"EC": "alg crv kid kty use x y", "OKP": "alg crv kid kty use x", "RSA": "alg e kid kty n use"}
	for i, k := range keys {
		entry := printed.Keys[i]
		if names := strings.Join(slices.Sorted(maps.Keys(entry)), " "); names != public[entry["kty"]] || entry["kid"] != k.ID() || entry["alg"] != string(k.Algorithm()) || entry["use"] != "sig" {
			t.Errorf("%v", entry)
		}
		equal := k.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal
		if back, ok := set.Lookup(k.ID(), k.Algorithm()); !ok || !equal(back.Public()) || !equal(theirs.Keys[i].Key) {
			t.Errorf("%s comes back as another key", k.Algorithm())
		}
	}
	if again, err := jws.MarshalKeySet(keys); err != nil || string(again) != string(body) {
		t.Error("printed twice, printed differently")
	}
	if body, err := jws.MarshalKeySet(nil); err != nil || string(body) != `{"keys":[]}` {
		t.Errorf("%s, %v", body, err)
	}
	if body, err := jws.MarshalKeySet([]jws.Key{{}}); !errors.Is(err, jws.ErrKey) || body != nil {
		t.Errorf("a zero key: %s, %v", body, err)
	}
	bad, err := jws.NewKey("\xff", jws.ES256, privateKey(t, jws.ES256).Public())
	if err != nil {
		t.Fatal(err)
	}
	if body, err := jws.MarshalKeySet([]jws.Key{bad}); err == nil {
		t.Errorf("a kid that is not UTF-8: %s", body)
	}
}

func TestNewKeySet(t *testing.T) {
	t.Parallel()
	keys := []jws.Key{signer(t, jws.ES256).Key(), signer(t, jws.ES384).Key()}
	set := jws.NewKeySet(keys...)
	keys[0] = jws.Key{}
	if k, ok := set.Lookup("k1", jws.ES256); !ok || k.Algorithm() != jws.ES256 || set.Len() != 2 {
		t.Error("the set is what its maker changed later")
	}
	if _, ok := set.Lookup("", ""); ok {
		t.Error("no algorithm finds a key")
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	set, _, err := jws.ParseKeySet([]byte(`{"keys":[`+ecEntry(t, "a")+`,`+ecEntry(t, "b")+`]}`), algorithms)
	if err != nil {
		t.Fatal(err)
	}
	one, _, err := jws.ParseKeySet([]byte(`{"keys":[`+ecEntry(t, "a")+`]}`), algorithms)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		set  jws.KeySet
		kid  string
		alg  jws.Algorithm
		want bool
	}{
		"by kid":               {set, "a", jws.ES256, true},
		"another algorithm":    {set, "a", jws.ES384, false},
		"unknown kid":          {set, "c", jws.ES256, false},
		"no kid, several keys": {set, "", jws.ES256, false},
		"no kid, one key":      {one, "", jws.ES256, true},
		"empty set":            {jws.KeySet{}, "a", jws.ES256, false},
	} {
		if k, ok := tt.set.Lookup(tt.kid, tt.alg); ok != tt.want || ok && k.Algorithm() != tt.alg {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

// Where go-jose reads a key of the same kid, it is the same key.
func FuzzParseKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"x","x":"AA","y":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"x","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[` + rsaEntry(2048, "AQAB") + `]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		set, skipped, err := jws.ParseKeySet(body, algorithms)
		if err != nil && (set.Len() != 0 || skipped != nil) {
			t.Fatal("keys beside an error")
		}
		var raw struct{ Keys []json.RawMessage }
		if err != nil || json.Unmarshal(body, &raw) != nil {
			return
		}
		for _, entry := range raw.Keys {
			var theirs jose.JSONWebKey
			if theirs.UnmarshalJSON(entry) != nil || theirs.KeyID == "" {
				continue
			}
			for _, a := range algorithms {
				if k, ok := set.Lookup(theirs.KeyID, a); ok && !k.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(theirs.Key) {
					t.Fatalf("two keys from %q", entry)
				}
			}
		}
	})
}
