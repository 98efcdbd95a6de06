// Package plan says what policy documents would change in a store, and changes
// it: each set by itself, all of them as one revision or not at all.
package plan

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/store"
)

// Plan is what documents would change, against one revision.
type Plan struct {
	Base     broker.Revision
	Changes  []broker.Object  // by set, kind and name
	Findings []policy.Finding // of the whole policy as it would be; with an error among them Apply refuses
	before   map[ref]broker.Object
}

// By says who writes, why and when.
type By struct {
	Author, Reason string
	At             time.Time
}

type ref struct {
	kind broker.ObjectKind
	name string
}

// Make compares documents with what is in force in a store. Errors are those of
// the store.
func Make(ctx context.Context, policies store.Policies, documents []policy.Document, o policy.Options) (*Plan, error) {
	current, base, err := policies.Load(ctx)
	if err != nil {
		return nil, err
	}
	p := Compare(current, documents, o)
	p.Base = base
	return p, nil
}

// Compare compares documents with objects. What a set of a document no longer
// has is deleted; other sets are not touched.
func Compare(current []broker.Object, documents []policy.Document, o policy.Options) *Plan {
	p := &Plan{before: map[ref]broker.Object{}}
	after := map[ref]broker.Object{}
	for _, object := range current {
		p.before[ref{object.Kind, object.Name}] = object
		after[ref{object.Kind, object.Name}] = object
	}
	seen := map[string]bool{}
	for i := range documents {
		d := &documents[i]
		if seen[d.Set] {
			p.Findings = append(p.Findings, policy.Finding{
				Code: "set-twice", Severity: policy.Error, Message: fmt.Sprintf("two files have documents of the set %q", d.Set), Fix: "join the documents",
			})
			continue
		}
		seen[d.Set] = true
		changes, findings := policy.Diff(current, d.Objects, d.Set)
		p.Changes, p.Findings = append(p.Changes, changes...), append(p.Findings, findings...)
		for _, c := range changes {
			if delete(after, ref{c.Kind, c.Name}); !c.Deleted {
				after[ref{c.Kind, c.Name}] = c
			}
		}
	}
	p.Findings = append(p.Findings, policy.Lint(sorted(after), o)...)
	for i := range documents {
		documents[i].Locate(p.Findings)
	}
	return p
}

func sorted(objects map[ref]broker.Object) []broker.Object {
	list := make([]broker.Object, 0, len(objects))
	for _, o := range objects {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b broker.Object) int {
		if a.Kind != b.Kind {
			return strings.Compare(string(a.Kind), string(b.Kind))
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

// Apply writes the changes as one revision. It refuses a plan with errors, and
// with CodeStale one whose base is not the current revision any more.
func (p *Plan) Apply(ctx context.Context, policies store.Policies, by By) (broker.Revision, error) {
	switch {
	case policy.HasErrors(p.Findings):
		return 0, broker.Errorf(broker.CodeInvalidRequest, "", "the policy has errors, nothing was changed")
	case len(p.Changes) == 0:
		return p.Base, nil
	}
	return policies.Write(ctx, store.Write{Base: p.Base, Author: by.Author, Reason: by.Reason, At: by.At, Changes: p.Changes})
}

// Text says what the plan changes, one object a block: + for added, ~ for
// changed, - for deleted, with the lines of its body that differ.
func (p *Plan) Text() string {
	var b strings.Builder
	added, changed, deleted := 0, 0, 0
	for _, c := range p.Changes {
		old, had := p.before[ref{c.Kind, c.Name}]
		switch {
		case c.Deleted:
			deleted++
			fmt.Fprintf(&b, "- %s %s\n", c.Kind, c.Name)
		case had:
			changed++
			fmt.Fprintf(&b, "~ %s %s\n", c.Kind, c.Name)
			differ(&b, old.Body, c.Body)
		default:
			added++
			fmt.Fprintf(&b, "+ %s %s\n", c.Kind, c.Name)
		}
	}
	if len(p.Changes) == 0 {
		b.WriteString("nothing would change\n")
	} else {
		fmt.Fprintf(&b, "%d added, %d changed, %d deleted\n", added, changed, deleted)
	}
	return b.String()
}

// differ writes the members of two canonical bodies that are not the same.
func differ(b *strings.Builder, old, wanted []byte) {
	before, after := members(old), members(wanted)
	for _, line := range before {
		if !slices.ContainsFunc(after, func(other []byte) bool { return bytes.Equal(line, other) }) {
			fmt.Fprintf(b, "    - %s\n", line)
		}
	}
	for _, line := range after {
		if !slices.ContainsFunc(before, func(other []byte) bool { return bytes.Equal(line, other) }) {
			fmt.Fprintf(b, "    + %s\n", line)
		}
	}
}
