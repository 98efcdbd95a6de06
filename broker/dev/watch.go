package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/server"
	"github.com/cambist/cambist/store"
)

// lookEvery is how often the policy file and the record are looked at: a new
// rule is in force within this and a poll of the store.
const lookEvery = 500 * time.Millisecond

// watched is the policy file, or the built-in text.
type watched struct {
	path    string
	builtIn string
	read    bool   // something was
	last    string // what it was
}

// changed returns the text if it is another than before. A file that is not there
// is an error, and so is one that is being written: it is looked at again.
func (w *watched) changed() (text string, changed bool, err error) {
	if w.path == "" {
		text = w.builtIn
	} else {
		raw, err := os.ReadFile(w.path)
		if err != nil {
			return "", false, err
		}
		text = string(raw)
	}
	changed = !w.read || text != w.last
	w.read, w.last = true, text
	return text, changed, nil
}

// errPolicy says that a policy was not applied; its findings have been printed.
var errPolicy = errors.New("the policy has errors")

// reload applies the policy if it changed, and opens sockets for workloads that
// it names for the first time.
func (d *dev) reload(ctx context.Context) error {
	text, changed, err := d.watched.changed()
	if err != nil || !changed {
		return err
	}
	name := d.Policy
	if name == "" {
		name = "sample"
	}
	documents, findings := policy.Parse(name, []byte(text))
	if d.report(findings) {
		return errPolicy
	}
	p, err := d.offline.Plan(ctx, documents)
	if err != nil {
		return err
	}
	if d.report(p.Findings) {
		return errPolicy
	}
	for i := range documents {
		for _, id := range policy.Workloads(documents[i].Objects) {
			if id.TrustDomain() == d.ca.Domain() {
				if err := d.addWorkload(id); err != nil {
					return err
				}
			}
		}
	}
	revision, err := d.offline.Apply(ctx, p, "cambist dev: "+name)
	if err != nil {
		return err
	}
	d.places.Revision = int64(revision)
	if len(p.Changes) > 0 {
		d.say("policy %s, revision %d\n%s", name, revision, indent(p.Text()))
	}
	return nil
}

func (d *dev) report(findings []policy.Finding) bool {
	for _, f := range findings {
		d.say("%s\n", f)
	}
	return policy.HasErrors(findings)
}

// say tells a person something, unless programs read what is printed.
func (d *dev) say(format string, args ...any) {
	if !d.JSON {
		fmt.Fprintf(d.Out, format, args...)
	}
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			line = "  " + line
		}
		b.WriteString(line)
	}
	return strings.TrimSuffix(b.String(), "\n") + "\n"
}

// watch waits until the server is ready, says so, and then looks at the policy
// file and at the record until the end.
func (d *dev) watch(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !d.ready(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	if err := d.announce(); err != nil {
		return err
	}
	tick.Reset(lookEvery)
	since, seen := d.Now(), map[string]bool{}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := d.reload(ctx); err != nil && ctx.Err() == nil {
			d.say("the policy of revision %d stays in force: %v\n", d.places.Revision, err)
		}
		since = d.refusals(ctx, since, seen)
	}
}

func (d *dev) ready(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.places.Ops+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// announce says where everything is.
func (d *dev) announce() error {
	places := d.places
	places.Workloads = maps.Clone(d.places.Workloads) // the policy may name more
	if d.Config.Ready != nil {
		d.Config.Ready(places)
	}
	if d.started != nil {
		d.started(d)
	}
	if d.JSON {
		line, err := json.Marshal(places)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(d.Out, "%s\n", line)
		return err
	}
	var names []string
	for name := range d.places.Workloads {
		if name != Broker {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	d.say("\nready: %s (curl: --cacert %s)\nusers: %s (alice and bob)\n", d.places.Issuer, d.places.Bundle, d.places.Users)
	d.say("workloads, each with a Workload API socket of its own:\n")
	for _, name := range names {
		d.say("  %-20s SPIFFE_ENDPOINT_SOCKET=%s\n", name, d.places.Workloads[name])
	}
	if len(names) > 0 {
		d.say(`
to be %[1]s, in another shell:
  export CAMBIST_URL=%[2]s CAMBIST_SERVER_ID=%[3]s
  export SPIFFE_ENDPOINT_SOCKET=%[4]s
  cambist whoami
  cambist token --decode --to RESOURCE
  cambist token --decode --to RESOURCE --user-token <(cambist dev user-token --data %[5]s --user alice)
certificate and key for curl: cambist dev svid --as %[1]s --ca %[6]s --out DIR

`, names[0], d.places.Issuer, d.places.ServerID, d.places.Workloads[names[0]], d.Data, d.places.CA)
	}
	return nil
}

// refusals prints what was refused since, with the rule that would allow it.
func (d *dev) refusals(ctx context.Context, since time.Time, seen map[string]bool) time.Time {
	rows, err := d.offline.Records(ctx, store.RecordFilter{Since: since.Add(-time.Second), Outcome: "refused", Limit: 100}, "")
	if err != nil {
		return since
	}
	newest := since
	for i := range rows {
		r := &rows[len(rows)-1-i] // oldest first
		if seen[r.ID] || r.Workload == "" {
			continue
		}
		seen[r.ID] = true
		if r.At.After(newest) {
			newest = r.At
		}
		explained, err := d.offline.Explain(ctx, r.ID)
		if err != nil {
			d.say("refused: %s, id %s: %s\n", r.Workload, r.ID, r.Outcome)
			continue
		}
		d.say("%s", refusal(&explained))
	}
	if len(seen) > 10_000 {
		clear(seen)
	}
	return newest
}

// refusal is a few lines about one refused request.
func refusal(x *server.Explained) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, id %s\n", x.Row.At.Local().Format(time.TimeOnly), x.Row.ID)
	if x.Why != nil {
		b.WriteString(indent(x.Why.Text()))
		return b.String()
	}
	fmt.Fprintf(&b, "  refused: %s (%s)\n", x.Row.Workload, x.Row.Outcome)
	if x.Entry.Detail != "" {
		b.WriteString(indent(x.Entry.Detail))
	}
	return b.String()
}
