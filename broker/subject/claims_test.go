package subject_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	strict "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/subject"
)

func chain(parties ...broker.Party) *broker.Actor {
	var a *broker.Actor
	for i := len(parties) - 1; i >= 0; i-- {
		a = &broker.Actor{Party: parties[i], Actor: a}
	}
	return a
}

// Standards TX-32, TX-34, TX-38, H12.
func TestChain(t *testing.T) {
	t.Parallel()
	deep := func(n int) string {
		return strings.Repeat(`{"act":`, n-1) + `{"sub":"a"}` + strings.Repeat(`,"sub":"a"}`, n-1)
	}
	tests := map[string]struct {
		act  string
		want *broker.Actor // nil if it is refused
	}{
		"one":                  {`{"sub":"a"}`, chain(broker.Party{Subject: "a"})},
		"of an issuer":         {`{"iss":"i","sub":"a"}`, chain(broker.Party{Subject: "a", Issuer: "i"})},
		"act before sub":       {`{"act":{"sub":"b"},"sub":"a"}`, chain(broker.Party{Subject: "a"}, broker.Party{Subject: "b"})},
		"act after sub":        {`{"sub":"a","act":{"act":{"sub":"c"},"sub":"b"},"iss":"i"}`, chain(broker.Party{Subject: "a", Issuer: "i"}, broker.Party{Subject: "b"}, broker.Party{Subject: "c"})},
		"dates mean nothing":   {`{"sub":"a","exp":-1,"nbf":"x","iat":null,"aud":[[]],"jti":1}`, chain(broker.Party{Subject: "a"})},
		"15 links":             {deep(15), chain(slice(15)...)},
		"16 links":             {deep(16), nil},
		"500 links":            {deep(500), nil},
		"a string":             {`"a"`, nil},
		"an array":             {`[{"sub":"a"}]`, nil},
		"null":                 {`null`, nil},
		"a number":             {`1`, nil},
		"nobody":               {`{}`, nil},
		"an issuer alone":      {`{"iss":"i"}`, nil},
		"nobody below":         {`{"sub":"a","act":{}}`, nil},
		"act a string":         {`{"sub":"a","act":"b"}`, nil},
		"act null":             {`{"sub":"a","act":null}`, nil},
		"sub a number":         {`{"sub":1}`, nil},
		"sub empty":            {`{"sub":""}`, nil},
		"sub with a newline":   {`{"sub":"a\n"}`, nil},
		"sub too long":         {`{"sub":"` + strings.Repeat("a", 2049) + `"}`, nil},
		"iss empty":            {`{"sub":"a","iss":""}`, nil},
		"sub twice":            {`{"sub":"a","sub":"b"}`, nil},
		"act twice":            {`{"sub":"a","act":{"sub":"b"},"act":{"sub":"c"}}`, nil},
		"a member more":        {`{"sub":"a","client_id":"b"}`, nil},
		"a member more, below": {`{"sub":"a","act":{"sub":"b","x":{}}}`, nil},
		"SUB":                  {`{"SUB":"a"}`, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c struct {
				Act subject.Chain `json:"act"`
			}
			err := subject.Decode([]byte(`{"act":`+test.act+`}`), &c)
			if test.want == nil {
				refused(t, err, broker.ReasonTokenClaims)
				return
			}
			if err != nil || !cmp.Equal(test.want, c.Act.Actor) {
				t.Fatalf("%+v, %v", c.Act.Actor, err)
			}
		})
	}
}

// Read by a decoder that bounds no depth, a chain still has an end.
func TestChainBoundsItself(t *testing.T) {
	t.Parallel()
	for links, good := range map[int]bool{16: true, 17: false, 5000: false} {
		var c subject.Chain
		err := strict.Unmarshal([]byte(strings.Repeat(`{"act":`, links-1)+`{"sub":"a"}`+strings.Repeat(`,"sub":"a"}`, links-1)), &c)
		if (err == nil) != good || good && c.Actor.Depth() != links {
			t.Errorf("%d links: %v", links, err)
		}
	}
}

func slice(n int) []broker.Party {
	parties := make([]broker.Party, n)
	for i := range parties {
		parties[i].Subject = "a"
	}
	return parties
}

// FuzzChain: what is read is written back as what a plain reader of JSON sees.
func FuzzChain(f *testing.F) {
	for _, seed := range []string{`{"sub":"a"}`, `{"act":{"sub":"b","iss":"i"},"sub":"a","exp":1}`, `{"sub":"a","act":{"act":{}}}`, `null`, `[{`} {
		f.Add(seed)
	}
	type link struct {
		Sub string          `json:"sub"`
		Iss string          `json:"iss"`
		Act json.RawMessage `json:"act"`
	}
	f.Fuzz(func(t *testing.T, act string) {
		var c struct {
			Act subject.Chain `json:"act"`
		}
		if subject.Decode([]byte(`{"act":`+act+`}`), &c) != nil {
			return
		}
		rest := json.RawMessage(act)
		for a := c.Act.Actor; a != nil; a = a.Actor {
			var l link
			if err := json.Unmarshal(rest, &l); err != nil || l.Sub != a.Subject || l.Iss != a.Issuer || a.Subject == "" {
				t.Fatalf("%s: %+v is not %+v, %v", act, a, l, err)
			}
			rest = l.Act
		}
		if rest != nil || c.Act.Actor == nil {
			t.Fatalf("%s: %s is left", act, rest)
		}
	})
}

// Standards TX-36.
func TestMayAct(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		claim  string
		want   broker.Party
		reason broker.Reason
	}{
		"sub":               {`{"sub":"a"}`, broker.Party{Subject: "a"}, ""},
		"sub and iss":       {`{"sub":"a","iss":"i","exp":"x","aud":{}}`, broker.Party{Subject: "a", Issuer: "i"}, ""},
		"nobody":            {`{}`, broker.Party{}, ""},
		"an issuer alone":   {`{"iss":"i"}`, broker.Party{Issuer: "i"}, ""},
		"by another member": {`{"sub":"a","client_id":"c"}`, broker.Party{}, broker.ReasonMayAct},
		"by act":            {`{"sub":"a","act":{"sub":"b"}}`, broker.Party{}, broker.ReasonMayAct},
		"a string":          {`"a"`, broker.Party{}, broker.ReasonTokenClaims},
		"null":              {`null`, broker.Party{}, broker.ReasonTokenClaims},
		"sub an array":      {`{"sub":["a","b"]}`, broker.Party{}, broker.ReasonTokenClaims},
		"sub empty":         {`{"sub":""}`, broker.Party{}, broker.ReasonTokenClaims},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c struct {
				MayAct subject.MayAct `json:"may_act"`
			}
			err := subject.Decode([]byte(`{"may_act":`+test.claim+`}`), &c)
			if err == nil {
				err = c.MayAct.Check()
			}
			if test.reason != "" {
				refused(t, err, test.reason)
				return
			}
			if err != nil || !c.MayAct.Present || c.MayAct.Party != test.want {
				t.Fatalf("%+v, %v", c.MayAct, err)
			}
		})
	}
}

func TestConfirmation(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("A", 43)
	tests := map[string]struct {
		cnf  string
		want *broker.Confirmation
	}{
		"certificate":        {`{"x5t#S256":"` + sum + `"}`, &broker.Confirmation{CertificateThumbprint: sum}},
		"key":                {`{"jkt":"` + sum + `"}`, &broker.Confirmation{KeyThumbprint: sum}},
		"both":               {`{"jkt":"` + sum + `","x5t#S256":"` + sum + `"}`, &broker.Confirmation{KeyThumbprint: sum, CertificateThumbprint: sum}},
		"neither":            {`{}`, &broker.Confirmation{Unknown: true}},
		"one we do not know": {`{"jkt":"` + sum + `","jwk":{"kty":"EC"}}`, &broker.Confirmation{KeyThumbprint: sum, Unknown: true}},
		"42 characters":      {`{"jkt":"` + sum[1:] + `"}`, nil},
		"44 characters":      {`{"jkt":"` + sum + `A"}`, nil},
		"padded":             {`{"jkt":"` + sum + `="}`, nil},
		"of hex":             {`{"x5t#S256":"` + strings.Repeat("0", 64) + `"}`, nil},
		"loose last bits":    {`{"jkt":"` + sum[1:] + `B"}`, nil},
		"with a newline":     {`{"jkt":"` + sum[1:] + `\nA"}`, nil},
		"a number":           {`{"jkt":1}`, nil},
		"null":               {`null`, nil},
		"an array":           {`[]`, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c struct {
				Confirmation subject.Confirmation `json:"cnf"`
			}
			err := subject.Decode([]byte(`{"cnf":`+test.cnf+`}`), &c)
			if test.want == nil {
				refused(t, err, broker.ReasonTokenClaims)
				return
			}
			if err != nil || c.Confirmation.Confirmation != *test.want {
				t.Fatalf("%+v, %v", c.Confirmation, err)
			}
		})
	}
}

// Skew forgives clocks, once (threats B16).
func TestDates(t *testing.T) {
	t.Parallel()
	second := now.Unix()
	for late, limit := range map[time.Duration]int64{0: 0, subject.Skew: -30} {
		for exp := int64(-90); exp <= 5; exp++ {
			d := subject.Dates{ExpiresAt: jws.NumericDate(second + exp), IssuedAt: jws.NumericDate(second - 600)}
			err := d.Check(now, late)
			if (err == nil) != (exp > limit) {
				t.Errorf("exp %+d s, late %v: %v", exp, late, err)
			}
			if err != nil {
				refused(t, err, broker.ReasonTokenExpired)
			}
		}
	}
	for ahead := int64(-5); ahead <= 90; ahead++ {
		iat := subject.Dates{ExpiresAt: jws.NumericDate(second + 600), IssuedAt: jws.NumericDate(second + ahead)}
		nbf := subject.Dates{ExpiresAt: jws.NumericDate(second + 600), IssuedAt: jws.NumericDate(second), NotBefore: jws.NumericDate(second + ahead)}
		for _, d := range []subject.Dates{iat, nbf} {
			err := d.Check(now, 0)
			if (err == nil) != (ahead <= 30) {
				t.Errorf("%+d s: %v", ahead, err)
			}
			if err != nil {
				refused(t, err, broker.ReasonTokenNotYetValid)
			}
		}
	}
}

// A token without a date is not one that expired.
func TestDatesAreRequired(t *testing.T) {
	t.Parallel()
	second := jws.NumericDate(now.Unix())
	for name, d := range map[string]subject.Dates{"no exp": {IssuedAt: second}, "no iat": {ExpiresAt: second + 60}, "neither": {}} {
		if e := refused(t, d.Check(now, 0), broker.ReasonTokenClaims); !strings.Contains(e.Public, "required") {
			t.Errorf("%s: %q", name, e.Public)
		}
	}
	d := subject.Dates{ExpiresAt: second + 10, IssuedAt: second + 10}
	refused(t, d.Check(now, 0), broker.ReasonTokenClaims)
}

// A claim that no rule declares is never seen, one of no type at all never fits.
func TestClaims(t *testing.T) {
	t.Parallel()
	payload := []byte(`{"a":"x\u0041","\u0062":true,"c":-0,"d":["y","z","y"],"e":[],"none":1,"other":{"a":[]}}`)
	rules := []broker.ClaimRule{
		{Name: "a", Type: broker.ClaimString}, {Name: "b", Type: broker.ClaimBool}, {Name: "c", Type: broker.ClaimInt},
		{Name: "d", Type: broker.ClaimEnum, Values: []string{"y"}}, {Name: "e", Type: broker.ClaimStrings}, {Name: "absent", Type: broker.ClaimString},
	}
	got, err := subject.Claims(payload, rules)
	want := []broker.Claim{{Name: "a", Value: "xA"}, {Name: "b", Value: true}, {Name: "c", Value: int64(0)}, {Name: "d", Value: []string{"y", "y"}}, {Name: "e", Value: []string{}}}
	if err != nil || !cmp.Equal(want, got) {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := subject.Claims(payload, nil); err != nil || got != nil {
		t.Fatalf("without rules: %+v, %v", got, err)
	}
	values := map[broker.ClaimType]string{broker.ClaimString: `"x"`, broker.ClaimBool: `true`, broker.ClaimInt: `1`, broker.ClaimStrings: `["x"]`, broker.ClaimEnum: `["x"]`}
	for declared := broker.ClaimNone; declared <= broker.ClaimEnum; declared++ {
		for _, value := range []string{`"x"`, `true`, `false`, `1`, `1.5`, `1e3`, `9223372036854775808`, `null`, `{}`, `["x"]`, `[["x"]]`, `["x",null]`, `["x",1]`} {
			fits := value == values[declared] || declared == broker.ClaimBool && value == `false`
			_, err := subject.Claims([]byte(`{"n":`+value+`}`), []broker.ClaimRule{{Name: "n", Type: declared, Values: []string{"x"}}})
			if (err == nil) != fits {
				t.Errorf("%s as %d: %v", value, declared, err)
			}
			if err != nil {
				refused(t, err, broker.ReasonTokenClaims)
			}
		}
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	seen := ""
	err := subject.Members([]byte(`{"a":1,"b":{"c":2},"\u0064":[3]}`), func(name []byte, d *jsontext.Decoder) error {
		seen += string(name)
		value, err := d.ReadValue()
		seen += string(value)
		return err
	})
	if err != nil || seen != `a1b{"c":2}d[3]` {
		t.Fatalf("%s, %v", seen, err)
	}
}
