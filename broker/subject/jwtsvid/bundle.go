package jwtsvid

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker/jws"
)

// ParseBundle returns the keys for JWT-SVIDs in a SPIFFE bundle, the document of a
// trust domain that also has its X.509 roots: those with the use jwt-svid and no
// others (standards SJ-7, SB-2). Skipped says, for people, which of those cannot be
// used and why; it counts from 0, among those of that use. A document without the
// member keys, with a private key of that use, or with two of one kid is refused
// whole. The list may come out empty, which means that all keys are revoked
// (standards SB-1).
func ParseBundle(document []byte) (keys []jws.Key, skipped []error, err error) {
	return parse(document, "jwt-svid")
}

// ParseJWTBundle is ParseBundle for the answer of the Workload API to
// FetchJWTBundles: a plain JWK Set of keys that are all for JWT-SVIDs (SPIFFE
// Workload API section 6.2.2), so that most servers, SPIRE among them, do not say
// what each is for. One that says it is for something else is not taken.
func ParseJWTBundle(document []byte) (keys []jws.Key, skipped []error, err error) {
	return parse(document, "", "sig", "jwt-svid")
}

// parse picks the entries with one of the uses and lets the one strict parser read
// them, as keys for signatures.
func parse(document []byte, uses ...string) (keys []jws.Key, skipped []error, err error) {
	if len(document) > jws.MaxKeySetBytes {
		return nil, nil, fmt.Errorf("%w: too large", jws.ErrKeySet)
	}
	var set struct {
		Keys []map[string]jsontext.Value `json:"keys"`
	}
	if err := jws.DecodeClaims(document, &set, maxDepth); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", jws.ErrKeySet, err)
	}
	if set.Keys == nil {
		return nil, nil, fmt.Errorf("%w: no keys member", jws.ErrKeySet)
	}
	set.Keys = slices.DeleteFunc(set.Keys, func(entry map[string]jsontext.Value) bool {
		use, ok := text(entry, "use")
		return !ok || !slices.Contains(uses, use)
	})
	var ids []string
	for i, entry := range set.Keys {
		delete(entry, "use")
		if id, ok := text(entry, "kid"); ok && id != "" {
			ids = append(ids, id)
		} else {
			skipped = append(skipped, fmt.Errorf("key %d: no kid", i))
		}
	}
	picked, err := json.Marshal(&set)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", jws.ErrKeySet, err)
	}
	parsed, unfit, err := jws.ParseKeySet(picked, algorithms())
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		for _, a := range algorithms() {
			if key, ok := parsed.Lookup(id, a); ok {
				keys = append(keys, key)
			}
		}
	}
	return keys, append(skipped, unfit...), nil
}

// maxDepth is how deep a bundle may lie.
const maxDepth = 8

// text returns a member that is a string; one that is absent is "".
func text(entry map[string]jsontext.Value, name string) (value string, ok bool) {
	raw, present := entry[name]
	if !present {
		return "", true
	}
	if err := json.Unmarshal(raw, &value); err != nil || raw.Kind() != '"' {
		return "", false
	}
	return value, true
}
