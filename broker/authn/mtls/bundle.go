package mtls

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

var (
	errBundleEmpty  = errors.New("no certificate in it")
	errBundleBroken = errors.New("a PEM block in it is not whole")
)

// ParseBundle reads the CA certificates of one trust domain from PEM. It reads
// all of a file or nothing: the usual parsers skip a block that they cannot read,
// and so would take half a file, while it is written, for a bundle that has lost
// some of its CAs. Text between the blocks is let be. Anything but certificates is
// refused, a private key above all.
func ParseBundle(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	begun := bytes.Count(text, []byte("-----BEGIN"))
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block in it is of type %q", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	switch {
	case len(list) != begun:
		return nil, errBundleBroken
	case len(list) == 0:
		return nil, errBundleEmpty
	}
	return list, nil
}
