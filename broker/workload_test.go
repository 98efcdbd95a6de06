package broker_test

import (
	"strings"
	"testing"

	"github.com/cambist/cambist/broker"
)

func TestCheckTrustDomain(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"td1.example": true, "1.2.3.4": true, "a_b-c": true, "a": true, strings.Repeat("a", 255): true,
		"": false, "td.": false, ".td": false, "a..b": false, ".": false, "TD": false, "spiffe://td": false, "td/x": false, "td:1": false, "é": false,
		strings.Repeat("a", 256): false,
	} {
		if err := broker.CheckTrustDomain(name); (err == nil) != ok {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}
