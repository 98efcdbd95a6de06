package mtls_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/cambist/cambist/broker/authn/mtls"
)

func pemOf(typ string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der})
}

func TestParseBundle(t *testing.T) {
	t.Parallel()
	one, two := newRoot(t).certificate, newRoot(t).certificate
	a, b := pemOf("CERTIFICATE", one.Raw), pemOf("CERTIFICATE", two.Raw)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	tests := map[string]struct {
		text []byte
		want []*x509.Certificate
	}{
		"one":                   {a, []*x509.Certificate{one}},
		"two":                   {join(a, b), []*x509.Certificate{one, two}},
		"text between":          {join([]byte("# td1\n"), a, []byte("\n# and\n\n"), b, []byte("# end\n")), []*x509.Certificate{one, two}},
		"carriage returns":      {bytes.ReplaceAll(join(a, b), []byte("\n"), []byte("\r\n")), []*x509.Certificate{one, two}},
		"empty":                 {nil, nil},
		"no block":              {[]byte("hello\n"), nil},
		"HTML":                  {[]byte("<html>404</html>"), nil},
		"DER":                   {one.Raw, nil},
		"second cut short":      {join(a, b[:len(b)/2]), nil},
		"second without end":    {join(a, b[:len(b)-5]), nil},
		"first cut short":       {join(a[:len(a)/2], b), nil},
		"a key beside":          {join(a, pemOf("PRIVATE KEY", []byte("x"))), nil},
		"a trusted certificate": {pemOf("TRUSTED CERTIFICATE", one.Raw), nil},
		"not a certificate":     {join(a, pemOf("CERTIFICATE", []byte("x"))), nil},
		"two in one block":      {pemOf("CERTIFICATE", join(one.Raw, two.Raw)), nil},
	}
	for name, tt := range tests {
		got, err := mtls.ParseBundle(tt.text)
		if (err == nil) != (tt.want != nil) || len(got) != len(tt.want) {
			t.Errorf("%s: %d certificates, %v; want %d", name, len(got), err, len(tt.want))
			continue
		}
		for i := range got {
			if !got[i].Equal(tt.want[i]) {
				t.Errorf("%s: certificate %d is another", name, i)
			}
		}
	}
}

// What parses prints back to the same, and no part of it does: a file that is cut
// anywhere inside a block is not a bundle.
func FuzzParseBundle(f *testing.F) {
	one, two := newRoot(f).certificate, newRoot(f).certificate
	a, b := pemOf("CERTIFICATE", one.Raw), pemOf("CERTIFICATE", two.Raw)
	f.Add(a, uint16(10))
	f.Add(append(bytes.Clone(a), b...), uint16(800))
	f.Add(append([]byte("text\n"), a...), uint16(3))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), uint16(0))
	f.Fuzz(func(t *testing.T, text []byte, cut uint16) {
		list, err := mtls.ParseBundle(text)
		if (err == nil) != (len(list) > 0) {
			t.Fatalf("%d certificates, %v", len(list), err)
		}
		if err != nil {
			return
		}
		var again []byte
		for _, c := range list {
			again = append(again, pemOf("CERTIFICATE", c.Raw)...)
		}
		same, err := mtls.ParseBundle(again)
		if err != nil || len(same) != len(list) {
			t.Fatalf("printed and parsed: %d of %d, %v", len(same), len(list), err)
		}
		part := again[:int(cut)%len(again)]
		some, err := mtls.ParseBundle(part)
		begun := bytes.Count(part, []byte("-----BEGIN"))
		if err == nil && len(some) != begun {
			t.Fatalf("%d certificates of %d begun", len(some), begun)
		}
	})
}
