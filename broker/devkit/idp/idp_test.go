package idp_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/cambist/cambist/broker/devkit/idp"
)

// A library that is not ours discovers the issuer and accepts its tokens, over a
// rotation too.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	server.Start()
	defer server.Close()
	issuer, err := idp.New(server.URL, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = issuer.Handler()
	before, err := issuer.Token(idp.IDToken, "alice", "cambist", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := issuer.Rotate(); err != nil {
		t.Fatal(err)
	}
	after, err := issuer.Token(idp.AccessToken, "bob", "cambist", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := oidc.NewProvider(t.Context(), issuer.URL())
	if err != nil {
		t.Fatal(err)
	}
	for want, raw := range map[string]string{"alice": before, "bob": after} {
		token, err := provider.Verifier(&oidc.Config{ClientID: "cambist"}).Verify(t.Context(), raw)
		if err != nil || token.Subject != want {
			t.Errorf("%s: %+v, %v", want, token, err)
		}
	}
	if err := issuer.Rotate(); err != nil {
		t.Fatal(err)
	}
	if err := issuer.Rotate(); err != nil {
		t.Fatal(err)
	}
	fresh, err := oidc.NewProvider(t.Context(), issuer.URL())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Verifier(&oidc.Config{ClientID: "cambist"}).Verify(t.Context(), before); err == nil {
		t.Error("a key of three rotations ago is still there")
	}
	if _, err := issuer.Token(idp.IDToken, "mallory", "cambist", time.Minute); err == nil {
		t.Error("a token for somebody who does not exist")
	}
}

// Programs that open one issuer, at once or later, have one key.
func TestOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "idp-key.pem")
	sets := make([]string, 8)
	var wg sync.WaitGroup
	for k := range sets {
		wg.Go(func() {
			issuer, err := idp.Open(path, "https://idp.example", time.Now)
			if err != nil {
				t.Error(err)
				return
			}
			set, err := issuer.JWKS()
			if err != nil {
				t.Error(err)
			}
			sets[k] = string(set)
		})
	}
	wg.Wait()
	for _, set := range sets {
		if set != sets[0] || set == "" {
			t.Errorf("%q is not %q", set, sets[0])
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := idp.Open(path, "https://idp.example", time.Now); err == nil {
		t.Error("a broken key was opened")
	}
}
