package exchange

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cambist/cambist/broker/oauth"
)

const (
	// A catalogue is read again by use after a time that each draws for itself, so
	// that a fleet does not ask together.
	minCatalogueAge = 5 * time.Minute
	maxCatalogueAge = 10 * time.Minute
	// missAge is how old a catalogue must be to be read again for what is not in it.
	missAge  = 5 * time.Second
	maxPages = 100 // of 100 resources
)

// catalogue is what /oauth2/self lists. It never changes.
type catalogue struct {
	Self
	readAt  time.Time
	staleAt time.Time
}

// Self is who the broker takes a workload for, and what policy lets it ask for.
type Self struct {
	Workload  string     `json:"workload"` // its SPIFFE ID
	Resources []Resource `json:"resources"`
}

// Resource is one that a workload may reach. Of a template, Name, URI and Hosts
// have * for what a request will say.
type Resource struct {
	Name    string   `json:"name"`
	URI     string   `json:"uri"` // the audience of its tokens
	Hosts   []string `json:"hosts,omitempty"`
	Binding string   `json:"binding"` // identity, certificate, dpop or bearer
	Grants  []Grant  `json:"grants"`
}

// Grant is what one mapping gives.
type Grant struct {
	// For is whose token must be shown: an issuer's name, or workload; empty for
	// the workload in its own name.
	For string `json:"for,omitempty"`
	// Having is what that token must be good for.
	Having []string `json:"having,omitempty"`
	Scopes []string `json:"scopes"`
	// Conditional says that it hangs on a condition which only a request can meet.
	Conditional bool `json:"conditional,omitempty"`
}

type selfPage struct {
	Self
	Next string `json:"next"`
}

// Self asks the broker who this workload is, and what it may ask for: the list
// that names of resources are looked up in, no older than five seconds. It must
// not be changed. Errors are *Error.
func (c *Client) Self(ctx context.Context) (Self, error) {
	w, err := c.wires.get(c.now())
	if err != nil {
		return Self{}, asError(err)
	}
	list, err := c.list(ctx, w, true)
	if err != nil {
		return Self{}, asError(err)
	}
	return list.Self, nil
}

func isURI(text string) bool { return strings.Contains(text, ":") } // no name has a colon

// find returns the resource that a target names. One that is not listed may be
// new: the list is read once more. A URI needs no list; a name does.
func (c *Client) find(ctx context.Context, w *wire, named string) (Resource, error) {
	list, err := c.list(ctx, w, false)
	if err == nil {
		if found, ok := list.find(named); ok {
			return found, nil
		}
		if list, err = c.list(ctx, w, true); err == nil {
			if found, ok := list.find(named); ok {
				return found, nil
			}
		}
	}
	var e *Error
	off := errors.As(err, &e) && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed)
	switch {
	case isURI(named) && (err == nil || off):
		return Resource{URI: named}, nil
	case off:
		return Resource{}, &Error{kind: ErrUnknownResource, Description: "this broker does not list resources: give the URI", final: true}
	case err != nil:
		return Resource{}, err
	}
	return Resource{}, &Error{kind: ErrUnknownResource, final: true}
}

// list returns the catalogue, read again if it is stale, or if something was
// missed in it and it is not quite new. Who asks while it is being read gets that
// answer; an old one is better than none, unless the broker is not there at all.
func (c *Client) list(ctx context.Context, w *wire, missed bool) (*catalogue, error) {
	now := c.now()
	known := c.known.Load()
	if known != nil && now.Before(known.staleAt) && !(missed && now.Sub(known.readAt) >= missAge) {
		return known, nil
	}
	_, err, _ := c.reads.Do(pathSelf, func() (any, error) {
		read, err := readCatalogue(ctx, w)
		if err == nil {
			read.readAt, read.staleAt = now, now.Add(uniform(minCatalogueAge, maxCatalogueAge))
			c.known.Store(read)
		}
		return nil, err
	})
	var e *Error
	if read := c.known.Load(); read != nil && (err == nil || errors.As(err, &e) && e.Status != 0) {
		return read, nil
	}
	return nil, err
}

// readCatalogue reads every page.
func readCatalogue(ctx context.Context, w *wire) (*catalogue, error) {
	read := &catalogue{}
	for path := pathSelf; ; {
		a, err := call(ctx, w, path, "")
		if err != nil {
			return nil, err
		}
		var page selfPage
		if err := a.read(&page); err != nil {
			return nil, err
		}
		read.Workload = page.Workload
		read.Resources = append(read.Resources, page.Resources...)
		if page.Next == "" || len(page.Resources) == 0 || len(read.Resources) >= maxPages*100 {
			return read, nil
		}
		path = pathSelf + "?after=" + url.QueryEscape(page.Next)
	}
}

// find returns the resource with that name or URI, built from a template if none
// is listed as such: an explicit resource beats a template.
func (l *catalogue) find(named string) (Resource, bool) {
	for i := range l.Resources {
		if r := &l.Resources[i]; (r.Name == named || r.URI == named) && !strings.Contains(named, "*") {
			return *r, true
		}
	}
	for i := range l.Resources {
		if made, ok := l.Resources[i].instance(named); ok {
			return made, true
		}
	}
	return Resource{}, false
}

// instance builds the resource of a template. Where several stars stand for
// different words, which of them goes where is not known here: a name then says
// too little, and the hosts of a URI stay unknown.
func (r Resource) instance(named string) (Resource, bool) {
	pattern := r.Name
	if isURI(named) {
		pattern = r.URI
	}
	words, ok := stars(pattern, named)
	if !ok {
		return Resource{}, false
	}
	slices.Sort(words)
	words = slices.Compact(words)
	switch {
	case len(words) == 1:
		fill := func(text string) string { return strings.ReplaceAll(text, "*", words[0]) }
		hosts := make([]string, len(r.Hosts))
		for i, host := range r.Hosts {
			hosts[i] = fill(host)
		}
		r.Name, r.URI, r.Hosts = fill(r.Name), fill(r.URI), hosts
	case isURI(named):
		r.Name, r.URI, r.Hosts = named, named, nil
	default:
		return Resource{}, false
	}
	return r, true
}

// stars returns what the stars of a pattern stand for in text: each for one DNS
// label. It fails if there are none.
func stars(pattern, text string) (words []string, ok bool) {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 || !strings.HasPrefix(text, parts[0]) {
		return nil, false
	}
	text = text[len(parts[0]):]
	for _, literal := range parts[1:] {
		n := 0
		for n < len(text) && labelByte(text[n]) {
			n++
		}
		if n == 0 || !strings.HasPrefix(text[n:], literal) {
			return nil, false
		}
		words = append(words, text[:n])
		text = text[n+len(literal):]
	}
	return words, text == ""
}

func labelByte(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' }

// scopes returns all that the resource gives in that role. What hangs on a
// condition is left out where something else remains: the broker refuses a
// request whole. Nothing is returned where the role says too little: for a
// foreign token it is not known here which of several issuers is the user's.
func (r *Resource) scopes(of role) oauth.Scopes {
	var sure, perhaps []string
	parties := map[string]bool{}
	for _, g := range r.Grants {
		if !of.fits(g) {
			continue
		}
		parties[g.For] = true
		if g.Conditional {
			perhaps = append(perhaps, g.Scopes...)
		} else {
			sure = append(sure, g.Scopes...)
		}
	}
	if len(sure) == 0 {
		sure = perhaps
	}
	if len(parties) != 1 {
		return oauth.Scopes{}
	}
	scopes, err := oauth.NewScopes(sure...)
	if err != nil {
		return oauth.Scopes{}
	}
	return scopes
}

// fits reports whether a grant counts in this role.
func (of role) fits(g Grant) bool {
	if of.as == AsSelf {
		return g.For == ""
	}
	if !of.own {
		return g.For != "" && g.For != forWorkload && len(g.Having) == 0
	}
	having, err := oauth.NewScopes(g.Having...)
	return err == nil && g.For == of.origin && !having.IsEmpty() && of.held.Includes(having)
}
