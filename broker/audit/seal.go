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

// appendFacts writes what is to be sealed of a record as JSON, {} if that is
// nothing. ok is false for what cannot be written whole.
func appendFacts(dst []byte, x *broker.Record) (plain []byte, ok bool) {
	w := writer{buf: append(dst, '{')}
	ok = true
	user := w.open("user")
	for i := range x.Facts {
		if name, isUser := strings.CutPrefix(x.Facts[i].Name, broker.AttrUserPrefix); isUser && first(x.Facts, i) {
			ok = w.value(name, x.Facts[i].Value) && ok
		}
	}
	// Carried claims decide too: two values for one claim refuse.
	if s := x.Subject; s != nil && s.Issuer != nil {
		for i, name := range s.Issuer.Carry {
			if value, has := s.Claim(name); has && !slices.Contains(s.Issuer.Carry[:i], name) && !isFact(x.Facts, name) {
				ok = w.value(name, value) && ok
			}
		}
	}
	w.close(user)
	if x.Claims != nil {
		signed := w.open("claims")
		for i := range x.Claims.Extra {
			if first(x.Claims.Extra, i) {
				ok = w.value(x.Claims.Extra[i].Name, x.Claims.Extra[i].Value) && ok
			}
		}
		w.close(signed)
	}
	w.end()
	return w.buf, ok && len(w.buf)-len(dst) <= maxFacts
}

// first reports whether no claim before it has the name of the i-th.
func first(claims []broker.Claim, i int) bool {
	for k := range i {
		if claims[k].Name == claims[i].Name {
			return false
		}
	}
	return true
}

// isFact reports whether the claim of the user is among the facts.
func isFact(facts []broker.Claim, name string) bool {
	for i := range facts {
		if user, ok := strings.CutPrefix(facts[i].Name, broker.AttrUserPrefix); ok && user == name {
			return true
		}
	}
	return false
}

// value writes one of the four types of broker.Claim. Names and values are written
// whole, unlike those of a body.
func (w *writer) value(name string, value any) bool {
	w.name("")
	w.buf = append(appendQuote(w.buf, name), ':')
	switch v := value.(type) {
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
		return false
	}
	return true
}

// appendContext writes the additional data under which facts are sealed: they
// open beside the row they were sealed for and nowhere else.
func appendContext(dst []byte, replica, id string) []byte {
	dst = append(append(dst, "cambist facts 1|"...), replica...)
	return append(append(dst, '|'), id...)
}

// seal encrypts the facts of a record. Facts of no kind that a claim has, or more
// than any token says, are lost and do not make the record fail; an error is that
// of the sealer.
func (r *Recorder) seal(x *broker.Record, id string) (secret []byte, how Sealing, err error) {
	all := appendContext(make([]byte, 0, 512), r.config.Replica, id)
	n := len(all)
	all, ok := appendFacts(all, x)
	switch plain := all[n:]; {
	case len(plain) == len("{}"):
		return nil, SealedNone, nil
	case !ok:
		return nil, SealedLost, nil
	default:
		if secret, err = r.config.Sealer.Seal(plain, all[:n:n]); err != nil {
			return nil, SealedLost, fmt.Errorf("seal the facts of a record: %w", err)
		}
		return secret, SealedKept, nil
	}
}

// OpenFacts decrypts what lies beside a body; nil if nothing does.
func OpenFacts(row *store.RecordRow, o Opener) (*Facts, error) {
	if len(row.Facts) == 0 {
		return nil, nil
	}
	plain, err := o.Open(row.Facts, appendContext(nil, row.Replica, row.ID))
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
