package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// profile is what the suite must be told of a server: who may ask for what, and
// what the server leaves out. Paths are relative to the file.
type profile struct {
	Trust     string             `yaml:"trust"`     // PEM roots of the server's certificate; without, those of the system
	Clients   map[string]*client `yaml:"clients"`   // caller is required; next and stranger open more cases
	Self      *target            `yaml:"self"`      // what caller may have by client_credentials
	Exchange  *target            `yaml:"exchange"`  // what caller may have for the subject token
	Onward    *target            `yaml:"onward"`    // what next may have for the token of that exchange
	Bound     *target            `yaml:"bound"`     // what caller may have by client_credentials, bound to its certificate
	DPoP      *target            `yaml:"dpop"`      // what caller may have by client_credentials, bound to the key of a DPoP proof
	Forbidden *target            `yaml:"forbidden"` // a target that exists and that caller may not have
	Subject   *subject           `yaml:"subject"`
	SPIFFE    *authority         `yaml:"spiffe"`     // a CA that the server trusts for client certificates
	MaxActors int                `yaml:"max_actors"` // how many parties an act chain may have; 0 if that is not known
	// Optional are parts of the standards that the server leaves out, by id, each
	// with the reason. Their cases do not run.
	Optional map[string]string `yaml:"optional"`

	dir string
}

// client is how somebody authenticates.
type client struct {
	ID          string   `yaml:"client_id"`   // sent as client_id, if set
	Certificate string   `yaml:"certificate"` // PEM chain: mutual TLS
	Key         string   `yaml:"key"`
	SecretFile  string   `yaml:"secret_file"` // a client secret, alone in a file
	Basic       bool     `yaml:"basic"`       // the secret goes into the Authorization header, not into the form
	Assertion   *subject `yaml:"assertion"`   // signs a client assertion for each request (RFC 7521 section 4.2): type, key, kid, typ and claims
	Sub         string   `yaml:"sub"`         // the sub that a token of the client itself has; client_id without

	secret string
	tls    *tls.Certificate
}

// target is what a request names. What is empty is not sent.
type target struct {
	Audience string `yaml:"audience"`
	Resource string `yaml:"resource"`
	Scope    string `yaml:"scope"`
	More     string `yaml:"more_scope"`    // a scope of the target that is not granted
	Default  string `yaml:"default_scope"` // what a request without scope gets; empty if that is refused
}

// name returns the audience that a token for the target has.
func (t *target) name() string {
	if t.Audience != "" {
		return t.Audience
	}
	return t.Resource
}

// subject is where subject tokens come from: a token as it is, or the key of an
// issuer that the server trusts, with which the suite makes good and bad ones.
type subject struct {
	Type    string   `yaml:"type"`    // subject_token_type
	File    string   `yaml:"file"`    // a token in a file
	Command []string `yaml:"command"` // a command that prints one

	Key       string         `yaml:"key"` // PEM private key of the issuer, PKCS #8
	KeyID     string         `yaml:"kid"` // the thumbprint of RFC 7638 without
	Typ       string         `yaml:"typ"`
	Claims    map[string]any `yaml:"claims"`    // iss, sub, aud and what else a good token has; the suite adds the dates and jti
	Actor     string         `yaml:"actor"`     // how the issuer names caller in may_act, if it can
	Delegates bool           `yaml:"delegates"` // the server takes an act from the issuer

	forger *forger
}

// authority makes client certificates, good ones and bad ones.
type authority struct {
	CA          string `yaml:"ca"`           // PEM file with the certificate and its private key
	TrustDomain string `yaml:"trust_domain"` // in it caller has an identity
	ID          string `yaml:"id"`           // the SPIFFE ID of caller

	certificate *x509.Certificate
	key         crypto.Signer
}

// loadProfile reads a profile and all the files that it names.
func loadProfile(ctx context.Context, path string) (*profile, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // who runs the suite names the file
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	p := &profile{dir: filepath.Dir(path)}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("profile %s: %w", path, err)
	}
	if p.Clients["caller"] == nil || p.Self == nil && p.Exchange == nil {
		return nil, fmt.Errorf("profile %s: clients.caller and one of self and exchange are required", path)
	}
	var errs []error
	for name, c := range p.Clients {
		if err := p.loadClient(c); err != nil {
			errs = append(errs, fmt.Errorf("client %s: %w", name, err))
		}
	}
	if p.Subject != nil {
		errs = append(errs, p.loadSubject(ctx))
	}
	if p.SPIFFE != nil {
		errs = append(errs, p.loadAuthority())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("profile %s: %w", path, err)
	}
	return p, nil
}

func (p *profile) read(name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(p.dir, name)
	}
	return os.ReadFile(name) //nolint:gosec // the profile names the file
}

func (p *profile) loadClient(c *client) error {
	switch {
	case c == nil:
		return errors.New("it is empty")
	case c.Certificate != "":
		chain, err := p.read(c.Certificate)
		if err != nil {
			return err
		}
		key, err := p.read(c.Key)
		if err != nil {
			return err
		}
		pair, err := tls.X509KeyPair(chain, key)
		c.tls = &pair
		return err
	case c.Assertion != nil:
		if c.Assertion.Type == "" || c.Assertion.Key == "" {
			return errors.New("assertion.type and assertion.key are required")
		}
		return p.loadKey(c.Assertion)
	case c.SecretFile != "":
		secret, err := p.read(c.SecretFile)
		c.secret = strings.TrimSpace(string(secret))
		return err
	}
	return errors.New("certificate and key, secret_file, or assertion are required")
}

func (p *profile) loadSubject(ctx context.Context) error {
	s := p.Subject
	if s.Type == "" {
		return errors.New("subject.type is required")
	}
	var text []byte
	var err error
	switch {
	case s.Key != "":
		return p.loadKey(s)
	case s.File != "":
		text, err = p.read(s.File)
	case len(s.Command) > 0:
		cmd := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...) //nolint:gosec // the profile names the command
		cmd.Dir = p.dir
		text, err = cmd.Output()
	default:
		return errors.New("subject: one of key, file and command is required")
	}
	s.forger = &forger{fixed: strings.TrimSpace(string(text))}
	return err
}

// loadKey reads the key with which tokens are made.
func (p *profile) loadKey(s *subject) error {
	text, err := p.read(s.Key)
	if err != nil {
		return err
	}
	_, key, err := readPEM(text)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Key, err)
	}
	s.forger, err = newForger(key, s)
	return err
}

func (p *profile) loadAuthority() error {
	text, err := p.read(p.SPIFFE.CA)
	if err != nil {
		return err
	}
	p.SPIFFE.certificate, p.SPIFFE.key, err = readPEM(text)
	if err == nil && p.SPIFFE.certificate == nil {
		err = errors.New("spiffe.ca has no certificate")
	}
	return err
}

// readPEM returns the first certificate and the first private key of a text.
func readPEM(text []byte) (certificate *x509.Certificate, key crypto.Signer, err error) {
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		switch {
		case block == nil && key == nil:
			return nil, nil, errors.New("there is no private key (PEM, PKCS #8)")
		case block == nil:
			return certificate, key, nil
		case block.Type == "CERTIFICATE" && certificate == nil:
			if certificate, err = x509.ParseCertificate(block.Bytes); err != nil {
				return nil, nil, err
			}
		case block.Type == "PRIVATE KEY" && key == nil:
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, nil, err
			}
			signer, ok := parsed.(crypto.Signer)
			if !ok {
				return nil, nil, errors.New("the private key does not sign")
			}
			key = signer
		}
	}
}

// client returns a client of the profile, nil if there is none of that name.
func (p *profile) client(name string) *client { return p.Clients[name] }

// leavesOut returns why the server leaves an id out, "" if it does not.
func (p *profile) leavesOut(id string) string { return p.Optional[id] }

// scopes returns the scopes of a target, sorted.
func scopes(text string) []string {
	list := strings.Fields(text)
	slices.Sort(list)
	return list
}
