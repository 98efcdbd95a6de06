package subject

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
)

// Confirmation is a cnf claim as it is read from JSON (RFC 7800).
type Confirmation struct{ broker.Confirmation }

// UnmarshalJSONFrom reads the claim. A member of a kind that is not known, or
// none at all, makes a binding that nobody can prove; it does not unbind.
func (c *Confirmation) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if err := jws.ReadOpen(d); err != nil {
		return err
	}
	c.Confirmation = broker.Confirmation{}
	for {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		if token.Kind() == '}' {
			c.Unknown = c.Unknown || c.IsZero()
			return nil
		}
		switch token.String() {
		case "x5t#S256": // RFC 8705 section 3.1
			c.CertificateThumbprint, err = readThumbprint(d)
		case "jkt": // RFC 9449 section 6.1
			c.KeyThumbprint, err = readThumbprint(d)
		default:
			c.Unknown = true
			err = d.SkipValue()
		}
		if err != nil {
			return err
		}
	}
}

var errThumbprint = errors.New("a thumbprint is not a SHA-256 in base64url")

// readThumbprint reads a SHA-256 in base64url, in the one form it has: 43
// characters (standards MT-5).
func readThumbprint(d *jsontext.Decoder) (string, error) {
	text, err := jws.ReadText(d)
	if err != nil {
		return "", err
	}
	// The decoder skips line breaks, so it is the text that must have the length.
	if _, err := base64.RawURLEncoding.Strict().DecodeString(text); err != nil || len(text) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
		return "", errThumbprint
	}
	return text, nil
}
