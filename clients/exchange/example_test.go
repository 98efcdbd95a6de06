package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"

	"golang.org/x/oauth2"

	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/exchange"
)

// A job that reads from the ledger in its own name.
func Example() {
	ctx := context.Background()
	client, err := exchange.New(ctx, exchange.FromEnv())
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	ledger := client.HTTPClient("ledger", exchange.AsSelf)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://ledger.finance/accounts", http.NoBody)
	if err != nil {
		log.Fatal(err)
	}
	res, err := ledger.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(os.Stdout, res.Body)
}

// A service that calls on behalf of who called it. The middleware in front, as
// nethttp.Handler, has verified the token and put it into the context.
func ExampleClient_HTTPClient() {
	client, err := exchange.New(context.Background(), exchange.FromEnv())
	if err != nil {
		log.Fatal(err)
	}
	orders := client.HTTPClient("orders", exchange.AsUser)

	http.HandleFunc("/checkout", func(w http.ResponseWriter, r *http.Request) {
		// r.Context(): this is how the user gets to the next service.
		req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, "https://orders.shop/orders", r.Body)
		if err != nil {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		res, err := orders.Do(req)
		switch {
		case errors.Is(err, exchange.ErrNoUser):
			http.Error(w, "log in first", http.StatusUnauthorized)
			return
		case errors.Is(err, exchange.ErrRefused):
			http.Error(w, "not allowed", http.StatusForbidden)
			return
		case err != nil:
			http.Error(w, "try again later", http.StatusServiceUnavailable)
			return
		}
		defer func() { _ = res.Body.Close() }()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	})
}

// Middleware of your own, where nethttp.Handler is not used: verify first, then put
// the token into the context.
func ExampleWithUser() {
	verified := func(r *http.Request) (token string, ok bool) { return "", false } // yours
	_ = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token, ok := verified(r)
			if !ok {
				http.Error(w, "log in first", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r.WithContext(exchange.WithUser(r.Context(), oauth.NewSecret(token))))
		})
	}
}

// One scope instead of all, and a server that is known by its SPIFFE ID.
func ExampleClient_RoundTripper() {
	client, err := exchange.New(context.Background(), exchange.FromEnv(), exchange.WithLogger(slog.Default()))
	if err != nil {
		log.Fatal(err)
	}
	ledger := &http.Client{Transport: client.RoundTripper(exchange.Target{
		Resource: "ledger",
		As:       exchange.AsSelf,
		Scopes:   []string{"ledger.read"},
		Server:   "spiffe://prod.example/ns/finance/sa/ledger",
	}, nil)}
	res, err := ledger.Get("https://ledger.finance/accounts")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(os.Stdout, res.Body)
}

// A token for a use that is not HTTP. Ask for it before each use: there is no need
// to keep it.
func ExampleClient_Token() {
	ctx := context.Background()
	client, err := exchange.New(ctx, exchange.FromEnv())
	if err != nil {
		log.Fatal(err)
	}
	token, err := client.Token(ctx, exchange.Target{Resource: "ledger", As: exchange.AsSelf})
	var problem *exchange.Error
	switch {
	case errors.As(err, &problem) && problem.RecordID != "":
		fmt.Println("refused; to learn why, run: cambist why", problem.RecordID)
	case err != nil:
		log.Fatal(err)
	}
	fmt.Println("good for", token.Scopes, "until", token.ExpiresAt)
	_ = token.Secret.Reveal() // the only way to its text
}

// A library that wants golang.org/x/oauth2.
func ExampleClient_TokenSource() {
	ctx := context.Background()
	client, err := exchange.New(ctx, exchange.FromEnv())
	if err != nil {
		log.Fatal(err)
	}
	_ = oauth2.NewClient(ctx, client.TokenSource(ctx, exchange.Target{Resource: "ledger", As: exchange.AsSelf}))
}
