package oauth

import (
	"errors"
	"iter"
	"slices"
	"strings"
)

// MaxScopes is how many scopes one request or rule may name.
const MaxScopes = 100

// ErrScope says that text is not a scope in the grammar of RFC 6749 section
// 3.3, or that there are more than MaxScopes.
var ErrScope = errors.New("scope is not well formed")

// Scopes is a set of scope tokens, sorted. It holds only well-formed tokens:
// ParseScopes and NewScopes are the ways to one. The zero value is empty. It
// never changes, so sets share their memory.
type Scopes struct{ names []string }

// ParseScopes reads the scope of a request: tokens joined by single spaces
// (RFC 6749 section 3.3), nothing else. The empty string is ErrScope: a
// parameter without a value counts as absent and never gets here.
func ParseScopes(text string) (Scopes, error) {
	if n := strings.Count(text, " "); n >= MaxScopes {
		return Scopes{}, ErrScope
	}
	return NewScopes(strings.Split(text, " ")...)
}

// NewScopes returns the set of the given tokens.
func NewScopes(names ...string) (Scopes, error) {
	if len(names) == 0 {
		return Scopes{}, nil
	}
	if len(names) > MaxScopes {
		return Scopes{}, ErrScope
	}
	for _, name := range names {
		if !scopeToken(name) {
			return Scopes{}, ErrScope
		}
	}
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	return Scopes{names: slices.Clip(slices.Compact(sorted))}, nil
}

// scopeToken reports whether name is 1*( %x21 / %x23-5B / %x5D-7E ).
func scopeToken(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return name != ""
}

// Contains reports whether the set has that token.
func (s Scopes) Contains(name string) bool {
	_, found := slices.BinarySearch(s.names, name)
	return found
}

// Includes reports whether every token of other is in s.
func (s Scopes) Includes(other Scopes) bool {
	for _, name := range other.names {
		if !s.Contains(name) {
			return false
		}
	}
	return true
}

// Intersect returns what is in both.
func (s Scopes) Intersect(other Scopes) Scopes { return s.keep(other, true) }

// Without returns what is in s and not in other.
func (s Scopes) Without(other Scopes) Scopes { return s.keep(other, false) }

func (s Scopes) keep(other Scopes, in bool) Scopes {
	kept := 0
	for _, name := range s.names {
		if other.Contains(name) == in {
			kept++
		}
	}
	switch kept {
	case len(s.names):
		return s
	case 0:
		return Scopes{}
	}
	names := make([]string, 0, kept)
	for _, name := range s.names {
		if other.Contains(name) == in {
			names = append(names, name)
		}
	}
	return Scopes{names: names}
}

// Union returns what is in either.
func (s Scopes) Union(other Scopes) Scopes {
	switch {
	case s.Includes(other):
		return s
	case other.Includes(s):
		return other
	}
	names := append(slices.Clone(s.names), other.names...)
	slices.Sort(names)
	return Scopes{names: slices.Compact(names)}
}

// Equal reports whether both are the same set.
func (s Scopes) Equal(other Scopes) bool { return slices.Equal(s.names, other.names) }

// Len returns how many tokens there are.
func (s Scopes) Len() int { return len(s.names) }

// IsEmpty reports whether there are none.
func (s Scopes) IsEmpty() bool { return len(s.names) == 0 }

// Names returns the tokens in order.
func (s Scopes) Names() iter.Seq[string] { return slices.Values(s.names) }

// String returns the tokens joined by spaces, as they stand in a token.
func (s Scopes) String() string { return strings.Join(s.names, " ") }
