package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// Sealer encrypts what a body may not show. Implemented by keys.Ring.
type Sealer interface {
	Seal(plain, additional []byte) ([]byte, error)
}

// Opener decrypts what a Sealer sealed. Implemented by keys.Ring.
type Opener interface {
	Open(sealed, additional []byte) ([]byte, error)
}

// Facts is what lies sealed beside a body: what a token said of its user, as far
// as the decision read it or the new token carries it on. What else a condition
// may read stands in the body.
type Facts struct {
	User   []broker.Claim // declared claims of the subject, by name
	Claims []broker.Claim // carried and mapped claims that were to be signed, by name
}

// maxFacts bounds what is sealed; a token of 16 KiB cannot say more.
const maxFacts = 64 << 10

// facts returns what is to be sealed of a record.
func facts(x *broker.Record) (f Facts) {
	for i := range x.Facts {
		if name, ok := strings.CutPrefix(x.Facts[i].Name, broker.AttrUserPrefix); ok {
			f.User = add(f.User, name, x.Facts[i].Value)
		}
	}
	// Carried claims decide too: two values for one claim refuse.
	if s := x.Subject; s != nil && s.Issuer != nil {
		for _, name := range s.Issuer.Carry {
			if value, ok := s.Claim(name); ok {
				f.User = add(f.User, name, value)
			}
		}
	}
	if x.Claims != nil {
		for i := range x.Claims.Extra {
			f.Claims = add(f.Claims, x.Claims.Extra[i].Name, x.Claims.Extra[i].Value)
		}
	}
	return f
}

func add(claims []broker.Claim, name string, value any) []broker.Claim {
	for i := range claims {
		if claims[i].Name == name {
			return claims
		}
	}
	return append(claims, broker.Claim{Name: name, Value: value})
}

// appendFacts writes facts as JSON; ok is false for what cannot be written whole.
func appendFacts(dst []byte, f *Facts) (plain []byte, ok bool) {
	w := writer{buf: append(dst, '{')}
	ok = w.values("user", f.User)
	ok = w.values("claims", f.Claims) && ok
	w.end()
	return w.buf, ok && len(w.buf)-len(dst) <= maxFacts
}

// values writes the four types of broker.Claim. Names and values are written
// whole, unlike those of a body.
func (w *writer) values(name string, claims []broker.Claim) bool {
	ok := true
	mark := w.open(name)
	for i := range claims {
		w.name("")
		w.buf = append(appendQuote(w.buf, claims[i].Name), ':')
		switch v := claims[i].Value.(type) {
		case string:
			w.buf = appendQuote(w.buf, v)
		case bool:
			w.buf = strconv.AppendBool(w.buf, v)
		case int64:
			w.buf = strconv.AppendInt(w.buf, v, 10)
		case []string:
			w.buf = append(w.buf, '[')
			for _, item := range v {
				w.name("")
				w.buf = appendQuote(w.buf, item)
			}
			w.buf = append(w.buf, ']')
		default:
			w.buf = append(w.buf, "null"...)
			ok = false
		}
	}
	w.close(mark)
	return ok
}

// factsContext is the additional data under which facts are sealed: they open
// beside the row they were sealed for and nowhere else.
func factsContext(replica, id string) []byte {
	return []byte("cambist facts 1|" + replica + "|" + id)
}

// OpenFacts decrypts what lies beside a body; nil if nothing does.
func OpenFacts(row *store.RecordRow, o Opener) (*Facts, error) {
	if len(row.Facts) == 0 {
		return nil, nil
	}
	plain, err := o.Open(row.Facts, factsContext(row.Replica, row.ID))
	if err != nil {
		return nil, fmt.Errorf("open facts of %s: %w", row.ID, err)
	}
	var members struct {
		User   map[string]jsontext.Value `json:"user"`
		Claims map[string]jsontext.Value `json:"claims"`
	}
	if err := json.Unmarshal(plain, &members, json.RejectUnknownMembers(true)); err != nil {
		return nil, ErrBody
	}
	var f Facts
	if f.User, err = claims(members.User); err != nil {
		return nil, err
	}
	f.Claims, err = claims(members.Claims)
	return &f, err
}

// claims gives JSON back the types of broker.Claim.
func claims(members map[string]jsontext.Value) ([]broker.Claim, error) {
	list := make([]broker.Claim, 0, len(members))
	for name, raw := range members {
		c := broker.Claim{Name: name}
		var err error
		switch raw.Kind() {
		case '"':
			c.Value, err = decode[string](raw)
		case 't', 'f':
			c.Value, err = decode[bool](raw)
		case '0':
			c.Value, err = decode[int64](raw)
		case '[':
			c.Value, err = decode[[]string](raw)
		default:
			err = ErrBody
		}
		if err != nil {
			return nil, ErrBody
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b broker.Claim) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

func decode[T any](raw jsontext.Value) (v T, err error) {
	err = json.Unmarshal(raw, &v)
	return v, err
}
