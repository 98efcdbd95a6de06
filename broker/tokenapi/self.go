package tokenapi

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/web"
)

// pageSize is how many resources one page of /oauth2/self has.
const pageSize = 100

// selfPage is the body of GET /oauth2/self: who the caller is, and a map of what
// it may reach. It is for finding the way, not a promise: the token endpoint
// decides.
type selfPage struct {
	Workload  string         `json:"workload"`
	Resources []selfResource `json:"resources"`
	Next      string         `json:"next,omitzero"` // ?after= of the next page
}

type selfResource struct {
	Name    string      `json:"name"`
	URI     string      `json:"uri"` // of a template: with * for what the name will say
	Hosts   []string    `json:"hosts,omitzero"`
	Binding string      `json:"binding"`
	Grants  []selfGrant `json:"grants"`
}

type selfGrant struct {
	For         string   `json:"for,omitzero"`    // "" for the workload itself, else whose token must be shown
	Having      []string `json:"having,omitzero"` // scopes that the received token must carry
	Scopes      []string `json:"scopes"`
	Conditional bool     `json:"conditional,omitzero"` // a condition will be asked besides
}

// self is GET /oauth2/self[?after=NAME].
func (a *api) self(w *web.Response, r *http.Request) error {
	workload, err := a.caller(w, r, oauth.Form{})
	if err != nil {
		return err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(query) > 1 || len(query) == 1 && len(query["after"]) != 1 {
		return a.Exchanger.Refuse(workload, received(w, r), invalid("the only parameter is after, the name that a page gives as next"))
	}
	found, err := a.Exchanger.Reach(r.Context(), workload, received(w, r))
	if err != nil {
		return err
	}
	page := selfPage{Workload: w.Workload}
	page.Resources, page.Next = resources(found, query.Get("after"))
	body, err := json.Marshal(&page, json.Deterministic(true))
	if err != nil {
		return err
	}
	web.WriteJSON(w, append(body, '\n'))
	return nil
}

// resources gathers what was found by resource, from the one after the given
// name, at most a page. Found is sorted by the names of the resources.
func resources(found []broker.Reachable, after string) (page []selfResource, next string) {
	page = []selfResource{}
	for i := range found {
		f := &found[i]
		if f.Resource.Name <= after {
			continue
		}
		if len(page) == 0 || page[len(page)-1].Name != f.Resource.Name {
			if len(page) == pageSize {
				return page, page[pageSize-1].Name
			}
			page = append(page, selfResource{Name: f.Resource.Name, URI: f.Resource.URI, Hosts: f.Resource.Hosts, Binding: f.Resource.Binding.String()})
		}
		last := &page[len(page)-1]
		last.Grants = append(last.Grants, selfGrant{
			For: f.For, Having: slices.Collect(f.Having.Names()), Scopes: slices.Collect(f.Scopes.Names()), Conditional: f.Conditional,
		})
	}
	return page, ""
}
