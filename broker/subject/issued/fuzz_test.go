package issued_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// FuzzClaims signs whatever payload it is given. What is accepted is complete:
// no decision after it has to ask whether a member is there.
func FuzzClaims(f *testing.F) {
	for _, seed := range []object{ofWorkload(), ofUser(), ofUser().with(object{"cnf": object{"kid": "x"}, "may_act": object{"sub": web}, "groups": 1})} {
		raw, err := json.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"iss":"` + us + `","act":{"act":{"act":{}}}}`))
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := w.verify(w.token(t, payload), oauth.TokenTypeAccessToken)
		if err != nil {
			if e := broker.AsError(err); e.Code != broker.CodeInvalidRequest || e.Reason == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		user := s.Kind == broker.SubjectUser
		_, workload := s.WorkloadID()
		switch {
		case user == workload, workload == (s.Origin != broker.SubjectID{}), user && strings.HasPrefix(s.Sub, "spiffe:"):
			t.Fatalf("neither a user nor a workload: %+v", s)
		case !s.Issued || len(s.Audience) != 1 || s.ClientID == "" || s.TokenID == "" || s.Scopes.IsEmpty() || s.KeyID != w.kid:
			t.Fatalf("incomplete: %+v", s)
		case !now.Before(s.ExpiresAt):
			t.Fatalf("expired: %+v", s)
		}
		for a := s.Actor; a != nil; a = a.Actor {
			if a.Subject == "" {
				t.Fatalf("an actor without a name: %+v", s)
			}
		}
	})
}
