package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/exchange"
	"github.com/cambist/cambist/clients/exchange/spiffe"
)

// workloadFlags say where the broker is and who asks. A platform sets them as
// variables (clients/exchange.FromEnv).
type workloadFlags struct {
	URL      string        `name:"url" required:"" help:"URL of the broker's mTLS listener." placeholder:"URL"`
	ServerID string        `name:"server-id" help:"SPIFFE ID of the broker." placeholder:"ID"`
	CAFile   string        `name:"ca-file" help:"PEM file with the CA that proves the DNS name in the URL (instead of --server-id)." placeholder:"PATH" type:"path"`
	SVIDDir  string        `name:"svid-dir" help:"Folder with svid.pem, svid-key.pem and bundle.pem; without, the Workload API at $SPIFFE_ENDPOINT_SOCKET is asked." placeholder:"PATH" type:"path"`
	Timeout  time.Duration `help:"How long to wait for identity and broker." default:"15s"`
}

// with opens an SDK client as the workload, works with it and closes it.
func (f *workloadFlags) with(a *app, work func(context.Context, *exchange.Client) error) error {
	ctx, cancel := context.WithTimeout(a.ctx, f.Timeout)
	defer cancel()
	options := []exchange.Option{exchange.WithURL(f.URL), exchange.WithSVIDDir(f.SVIDDir)}
	if f.SVIDDir == "" {
		options[1] = spiffe.WorkloadAPI()
	}
	if f.ServerID != "" {
		options = append(options, exchange.WithServerID(f.ServerID))
	}
	if f.CAFile != "" {
		options = append(options, exchange.WithServerCA(f.CAFile))
	}
	client, err := exchange.New(ctx, options...)
	if err != nil {
		return err
	}
	return errors.Join(work(ctx, client), client.Close())
}

type tokenCmd struct {
	workloadFlags
	To        string   `required:"" help:"Resource, by its name or its URI." placeholder:"RESOURCE"`
	Scope     []string `help:"Scopes to ask for; all that policy gives if there are none." placeholder:"SCOPE"`
	UserToken string   `help:"File with the token of a user (- for standard input): the token is then on behalf of that user." placeholder:"PATH"`
	Type      string   `help:"Type that the user's token is declared as, where it does not say so itself." placeholder:"URN"`
	Decode    bool     `help:"Print header and claims instead of the token."`
}

// Run gets a token as a service would, and prints it.
func (c *tokenCmd) Run(a *app) error {
	target := exchange.Target{Resource: c.To, As: exchange.AsSelf, Scopes: c.Scope}
	if c.UserToken != "" {
		user, err := readToken(c.UserToken)
		if err != nil {
			return err
		}
		target.As, target.User, target.UserType = exchange.AsUser, user, oauth.TokenType(c.Type)
	}
	return c.with(a, func(ctx context.Context, client *exchange.Client) error {
		token, err := client.Token(ctx, target)
		if err != nil {
			return err
		}
		if !c.Decode {
			fmt.Fprintln(a.stdout, token.Secret.Reveal())
			return nil
		}
		decoded, err := decode(token.Secret.Reveal())
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "%s\n", decoded)
		return nil
	})
}

const maxUserToken = 64 << 10

// readToken reads a token from a file, as any program writes one: with white
// space around it, or not.
func readToken(path string) (oauth.Secret, error) {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil { //nolint:gosec // the user names the path
			return oauth.Secret{}, err
		}
		defer file.Close() //nolint:errcheck // it was only read
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxUserToken+1))
	switch {
	case err != nil:
		return oauth.Secret{}, err
	case len(raw) > maxUserToken:
		return oauth.Secret{}, fmt.Errorf("--user-token: %s is larger than 64 KiB, no token is", path)
	case len(bytes.TrimSpace(raw)) == 0:
		return oauth.Secret{}, fmt.Errorf("--user-token: %s is empty", path)
	}
	return oauth.NewSecret(string(bytes.TrimSpace(raw))), nil
}

// decode renders a token for people. Its signature is not looked at: it has just
// come from the broker, over TLS.
func decode(token string) ([]byte, error) {
	parsed, err := jws.Parse(token)
	if err != nil {
		return nil, fmt.Errorf("the token is not a JWT: %w", err)
	}
	h := parsed.Header()
	header, err := json.Marshal(map[string]string{"alg": string(h.Algorithm), "kid": h.KeyID, "typ": h.Type})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	text := fmt.Sprintf(`{"header":%s,"claims":%s}`, header, parsed.UnverifiedPayload())
	err = json.Indent(&out, []byte(text), "", "  ")
	return out.Bytes(), err
}

type whoamiCmd struct {
	workloadFlags
	Output string `short:"o" help:"table or json." default:"table" enum:"table,json"`
}

// Run prints who the broker takes this workload for, and what it may ask for.
func (c *whoamiCmd) Run(a *app) error {
	return c.with(a, func(ctx context.Context, client *exchange.Client) error {
		self, err := client.Self(ctx)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return printJSON(a.stdout, self)
		}
		fmt.Fprintln(a.stdout, self.Workload)
		if len(self.Resources) == 0 {
			fmt.Fprintln(a.stdout, "no rule gives it anything")
			return nil
		}
		fmt.Fprintln(a.stdout)
		table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(table, "RESOURCE\tFOR\tSCOPES\tBOUND TO\tURI")
		for _, r := range self.Resources {
			for _, g := range r.Grants {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.Name, whom(g), strings.Join(g.Scopes, " "), r.Binding, r.URI)
			}
		}
		return table.Flush()
	})
}

// whom says for whom a grant is.
func whom(g exchange.Grant) string {
	text := "itself"
	switch g.For {
	case "":
	case "workload":
		text = "a workload that sent its token"
	default:
		text = "a user of " + g.For
	}
	if len(g.Having) > 0 {
		text += " with " + strings.Join(g.Having, " ")
	}
	if g.Conditional {
		text += ", on a condition"
	}
	return text
}
