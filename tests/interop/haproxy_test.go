package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// config is a resource server made of HAProxy alone: it verifies the signature
// with one published key, and looks at issuer, audience and scope.
const config = `
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend api
  bind 127.0.0.1:%s
  http-request set-var(txn.token) http_auth_bearer
  http-request deny deny_status 401 unless { var(txn.token),jwt_header_query('$.typ') -m str at+jwt }
  http-request deny deny_status 401 unless { var(txn.token),jwt_header_query('$.alg') -m str ES256 }
  http-request deny deny_status 401 unless { var(txn.token),jwt_verify("ES256","%s") 1 }
  http-request deny deny_status 401 unless { var(txn.token),jwt_payload_query('$.iss') -m str "%s" }
  http-request deny deny_status 401 unless { var(txn.token),jwt_payload_query('$.aud') -m str "%s" }
  http-request deny deny_status 403 unless { var(txn.token),jwt_payload_query('$.scope') -m str ledger.read }
  http-request return status 200
`

// HAProxy accepts our token with the published key, and nothing else.
func TestHAProxy(t *testing.T) {
	own := token(t, ledgerURI)
	key := filepath.Join(t.TempDir(), "key.pem")
	must(t, os.WriteFile(key, publicKey(t, own), 0o600))
	port, err := freePort(t.Context())
	must(t, err)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	must(t, os.WriteFile(file, fmt.Appendf(nil, config, port, key, the.Issuer, ledgerURI), 0o600))
	program := "haproxy"
	if _, err := exec.LookPath(program); err != nil {
		program = "/usr/sbin/haproxy" // where Debian has it, and not every PATH
	}
	proxy := exec.CommandContext(t.Context(), program, "-f", file, "-db")
	proxy.Stderr = os.Stderr
	must(t, proxy.Start())
	t.Cleanup(func() { _ = proxy.Process.Signal(syscall.SIGTERM); _ = proxy.Wait() })
	url := "http://127.0.0.1:" + port + "/"
	ask := func(authorization string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		must(t, err)
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0
		}
		must(t, response.Body.Close())
		return response.StatusCode
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ask("") == 0 {
		<-tick.C
	}
	tampered := own[:len(own)-8] + "AAAAAAAA"
	for name, tt := range map[string]struct {
		authorization string
		status        int
	}{
		"our token":              {"Bearer " + own, 200},
		"none":                   {"", 401},
		"tampered":               {"Bearer " + tampered, 401},
		"another audience":       {"Bearer " + token(t, "https://rs256.dev.cambist.invalid"), 401},
		"the provider's":         {"Bearer " + the.userToken, 401},
		"as an unknown scheme":   {"Basic " + own, 401},
		"without its signature":  {"Bearer " + own[:strings.LastIndexByte(own, '.')+1], 401},
		"with a word in between": {"Bearer x " + own, 401},
	} {
		if status := ask(tt.authorization); status != tt.status {
			t.Errorf("%s: %d, want %d", name, status, tt.status)
		}
	}
}

// publicKey returns the published key that a token names, in PEM.
func publicKey(t *testing.T, token string) []byte {
	t.Helper()
	decode := base64.RawURLEncoding.DecodeString
	header, err := decode(strings.Split(token, ".")[0])
	must(t, err)
	var named struct {
		Kid string `json:"kid"`
	}
	must(t, json.Unmarshal(header, &named))
	response, err := client(t).Get(the.Issuer + "/oauth2/jwks")
	must(t, err)
	defer response.Body.Close()
	var set struct {
		Keys []struct{ Kid, X, Y string }
	}
	must(t, json.NewDecoder(response.Body).Decode(&set))
	for _, k := range set.Keys {
		if k.Kid != named.Kid {
			continue
		}
		x, err := decode(k.X)
		must(t, err)
		y, err := decode(k.Y)
		must(t, err)
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		must(t, err)
		der, err := x509.MarshalPKIXPublicKey(public)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	t.Fatalf("the key %s is not published", named.Kid)
	return nil
}
