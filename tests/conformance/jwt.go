package main

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// segment decodes one part of a compact JWS, nil if it is none.
func segment(token string, part int) map[string]any {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[part])
	if err != nil {
		return nil
	}
	var members map[string]any
	if json.Unmarshal(raw, &members) != nil {
		return nil
	}
	return members
}

// header and payload read a token whose signature is not looked at.
func header(token string) map[string]any  { return segment(token, 0) }
func payload(token string) map[string]any { return segment(token, 1) }

// str returns a member that is a string, "" for any other.
func str(members map[string]any, name string) string {
	text, _ := members[name].(string)
	return text
}

// list returns the texts of a member that is an array.
func list(members map[string]any, name string) []string {
	values, _ := members[name].([]any)
	var texts []string
	for _, v := range values {
		if text, ok := v.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// audiences returns aud in its two forms.
func audiences(claims map[string]any) []string {
	if one := str(claims, "aud"); one != "" {
		return []string{one}
	}
	return list(claims, "aud")
}

func equal(a, b []string) bool { return slices.Equal(a, b) }

// actors returns the subjects of an act chain, the outermost first.
func actors(claims map[string]any) []string {
	var names []string
	for act, ok := claims["act"].(map[string]any); ok; act, ok = act["act"].(map[string]any) {
		names = append(names, str(act, "sub"))
	}
	return names
}
