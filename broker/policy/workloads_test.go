package policy_test

import (
	"slices"
	"testing"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
)

func TestWorkloads(t *testing.T) {
	t.Parallel()
	var got []string
	objects := parse(t, designText(t)).Objects
	for _, id := range policy.Workloads(append(objects, broker.Object{Kind: broker.KindMapping, Name: "x/y", Body: []byte("{")})) {
		got = append(got, id.Path())
	}
	want := []string{
		"/ns/bi/sa/close", "/ns/bi/sa/reports", "/ns/edge/sa/gateway", "/ns/finance/sa/ledger", "/ns/finance/sa/repair", "/ns/shop/sa/orders", "/ns/shop/sa/web",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
