package bench_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/authn/mtls"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

// The floor runs in this very test binary, started anew with these flags.
var (
	floorAddress = flag.String("floor", "", "serve the floor at this address")
	floorDir     = flag.String("floor-dir", "", "folder with the SVID and the key set")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *floorAddress != "" {
		fmt.Fprintln(os.Stderr, serveFloor(*floorAddress, *floorDir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// svids is an x509svid.Source of one SVID.
type svids struct{ svid *x509svid.SVID }

func (s svids) GetX509SVID() (*x509svid.SVID, error) { return s.svid, nil }

// serveFloor has the TLS, the limits and the memory settings of the server, and
// a handler that does nothing but the cryptography: it reads the form, verifies
// the subject token if there is one, and signs as many bytes as the server does.
func serveFloor(address, dir string) error {
	debug.SetGCPercent(400)
	svid, err := x509svid.Load(dir+"/server/"+trust.SVIDFile, dir+"/server/"+trust.KeyFile)
	if err != nil {
		return err
	}
	authenticator, err := mtls.New(mtls.Config{Trust: &mtls.Trust{}, Source: svids{svid}, Now: time.Now})
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(dir + "/jwks.json") //nolint:gosec // the benchmark names the folder
	if err != nil {
		return err
	}
	set, _, err := jws.ParseKeySet(raw, []jws.Algorithm{jws.ES256})
	if err != nil {
		return err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	id, err := jws.Thumbprint(private.Public())
	if err != nil {
		return err
	}
	signer, err := jws.NewSigner(id, jws.ES256, private)
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr: address, TLSConfig: authenticator.TLSConfig(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 7 * time.Second, WriteTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				return // readiness
			}
			if err := floor(w, r, set, signer); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		}),
	}
	return server.ListenAndServeTLS("", "")
}

var errFloor = errors.New("no key")

func floor(w http.ResponseWriter, r *http.Request, set jws.KeySet, signer *jws.Signer) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	form, err := oauth.ParseForm(body)
	if err != nil {
		return err
	}
	if subject := form.Get("subject_token"); subject != "" {
		token, err := jws.Parse(subject)
		if err != nil {
			return err
		}
		key, ok := set.Lookup(token.Header().KeyID, token.Header().Algorithm)
		if !ok {
			return errFloor
		}
		if _, err := token.VerifyPayload(key); err != nil {
			return err
		}
	}
	input := signer.AppendInput(nil, "at+jwt", payload)
	signature, err := signer.Sign(input)
	if err != nil {
		return err
	}
	answer := oauth.TokenResponse{AccessToken: oauth.NewSecret(string(jws.AppendToken(nil, input, signature))), TokenType: "Bearer", ExpiresIn: 300, Scope: "ledger.read"}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(answer.AppendJSON(nil))
	return err
}

// payload is as large as the claims of a token of the server.
var payload = fmt.Appendf(nil, `{"iss":"https://localhost:8443","sub":%q,"aud":%q,"exp":1795611727,"iat":1795611427,"jti":"01M89CG06D0KX2YKZYNZ2H3MEE","client_id":%q,"scope":"ledger.read","txn":"01M89CG06D0KX2YKZYNZ2H3MEE","rev":3}`,
	id, audience, id)

var id = spiffeid.RequireFromString("spiffe://prod.example/ns/shop/sa/web").String()

// floor runs the floor and waits until it answers.
func (w *world) floor(tb testing.TB) {
	tb.Helper()
	w.address = free(tb)
	w.run(tb, selfCommand(w), "https://"+w.address+"/")
}

// transport is one that keeps so many connections, one request at a time on
// each.
func (w *world) transport(connections int) *http.Transport {
	config := w.client.Clone()
	config.NextProtos = []string{"http/1.1"}
	return &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
}
