package verify_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"

	"github.com/cambist/cambist/clients/verify"
)

// A resource server of its own making: one verifier that runs for as long as the
// process does, and one Peers over the bundles of its X.509 source.
func ExampleVerifier_Verify() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	verifier, err := verify.New(verify.Config{
		Issuer:    "https://cambist.prod.example",
		Audiences: []string{"https://orders.prod.example"},
		Now:       time.Now,
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Print(verifier.Run(ctx)) }()
	var bundles x509bundle.Source = x509bundle.NewSet() // workloadapi.NewX509Source, for one
	peers, err := verify.PeersByBundle(bundles, time.Now)
	if err != nil {
		log.Fatal(err)
	}
	handle := func(authorization []string, connection *tls.ConnectionState) (*verify.Token, error) {
		raw, err := verify.ParseBearer(authorization)
		if err != nil {
			return nil, err
		}
		peer, err := peers.FromTLS(connection)
		if err != nil {
			return nil, err
		}
		return verifier.Verify(ctx, raw, peer)
	}
	_, err = handle(nil, &tls.ConnectionState{})
	var refused *verify.Error
	if errors.As(err, &refused) {
		fmt.Println(refused.Reason)
		fmt.Println(refused.Challenge("https://orders.prod.example"))
	}
	// Output:
	// credentials_missing
	// Bearer realm="https://orders.prod.example"
}

// What a handler behind a guard finds in its context.
func ExampleFromContext() {
	http.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		token, ok := verify.FromContext(r.Context())
		if !ok {
			http.Error(w, "not behind a guard", http.StatusInternalServerError)
			return
		}
		if user, ok := token.User(); ok {
			log.Printf("user %s of %s, through %s", user.Subject, user.Issuer, token.Workload())
		}
		if groups, ok := token.Claim("groups"); ok {
			log.Print(groups.([]string))
		}
	})
}

// The routes of a resource, as its policy has them.
func ExampleNewRoutes() {
	routes, err := verify.NewRoutes(map[string][]string{
		"ledger.read":  {"GET /accounts/**"},
		"ledger.write": {"POST /entries"},
	})
	fmt.Println(routes != nil, err)
	// Output: true <nil>
}
