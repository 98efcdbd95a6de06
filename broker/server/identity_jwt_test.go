package server_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/server"
)

// jwtKeys is the answer of the Workload API for a CA.
func jwtKeys(t *testing.T, ca *trust.CA) []byte {
	t.Helper()
	document, err := ca.JWTBundle().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// spiffeDocument is the bundle of a CA as its bundle endpoint serves it.
func spiffeDocument(t *testing.T, ca *trust.CA) []byte {
	t.Helper()
	b := spiffebundle.FromX509Bundle(ca.Bundle())
	b.SetJWTAuthorities(ca.JWTBundle().JWTAuthorities())
	document, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func keyCount(i *server.IdentityUnderTest, ca *trust.CA) int {
	keys, ok := i.Keys().Keys(ca.Domain())
	if !ok {
		return -1
	}
	return keys.Len()
}

func (f *following) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 3000 {
		if holds() {
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("it was never so: %s", what)
}

// The keys come from the Workload API: each trust domain its own, at once when
// they go, and the last good ones for a while when what is there cannot be read.
func TestKeysFollowTheAgent(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Minute)
	ours, others := jwtKeys(t, f.ours), jwtKeys(t, f.other)
	f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours), nil)
	f.sayKeys(map[string][]byte{prod.IDString(): ours, partner.IDString(): others, "spiffe://Not A Domain": ours})
	f.start()
	f.eventually(t, "both are known", func() bool { return keyCount(f.identity, f.ours) > 0 && keyCount(f.identity, f.other) > 0 })
	f.log.wait(t, "Not A Domain")

	f.sayKeys(map[string][]byte{prod.IDString(): []byte("{"), partner.IDString(): others})
	f.log.wait(t, "JWT bundle of prod.example")
	if keyCount(f.identity, f.ours) <= 0 || keyCount(f.identity, f.other) <= 0 {
		t.Error("a document that cannot be read takes keys along at once")
	}
	f.clock.set(start.Add(61 * time.Second))
	f.eventually(t, "the old keys have had their time", func() bool { return keyCount(f.identity, f.ours) <= 0 && keyCount(f.identity, f.other) > 0 })

	f.sayKeys(map[string][]byte{prod.IDString(): ours})
	f.eventually(t, "who is not spoken of is forgotten", func() bool { return keyCount(f.identity, f.ours) > 0 && keyCount(f.identity, f.other) < 0 })
	f.sayKeys(map[string][]byte{prod.IDString(): []byte(`{"keys":[]}`)})
	f.eventually(t, "an empty list revokes", func() bool { return keyCount(f.identity, f.ours) <= 0 })
	f.sayKeys(map[string][]byte{prod.IDString(): ours, "spiffe://prod.example/x": others})
	f.log.wait(t, "two bundles")
	if keyCount(f.identity, f.ours) > 0 {
		t.Error("of two bundles one was taken")
	}
}

// An agent without JWT-SVIDs is said once, and keeps nobody from serving.
func TestAgentWithoutJWTSVIDs(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Minute)
	f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours), nil)
	f.start()
	f.log.wait(t, "method FetchJWTBundles not implemented")
	f.eventually(t, "it serves", func() bool { return f.identity.Ready(f.clock.now()) == nil })
	for _, line := range f.log.drain() {
		if strings.Contains(line, "JWT bundles") {
			t.Errorf("said again: %s", line)
		}
	}
	f.sayKeys(map[string][]byte{prod.IDString(): jwtKeys(t, f.ours)})
	f.log.wait(t, "JWT bundles: well again")
	if keyCount(f.identity, f.ours) <= 0 {
		t.Error("no keys")
	}
	f.stop() // what is known outlives the agent
	f.log.wait(t, "ERROR identity: JWT bundles")
	if keyCount(f.identity, f.ours) <= 0 {
		t.Error("the keys went with the agent")
	}
}

// From files: SPIFFE bundles, re-read on each look.
func TestKeysFromFiles(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	f.writeBundle("prod.pem", f.ours)
	f.write("prod.json", spiffeDocument(t, f.ours))
	i, err := server.NewIdentity(server.IdentitySource{
		Cert: f.path("svid.pem"), Key: f.path("svid-key.pem"), Bundles: map[string]string{prod.Name(): f.path("prod.pem")},
		JWTBundles: map[string]string{prod.Name(): f.path("prod.json"), partner.Name(): f.path("nowhere.json")}, Now: f.clock.now, Log: slog.New(f.log),
	})
	if err != nil {
		t.Fatal(err)
	}
	i.Look()
	i.Look()
	f.log.wait(t, "JWT bundle of partner.example")
	if keyCount(i, f.ours) != 1 || keyCount(i, f.other) > 0 || i.Ready(f.clock.now()) != nil {
		t.Errorf("%d keys of ours, %d of partner, %v", keyCount(i, f.ours), keyCount(i, f.other), i.Ready(f.clock.now()))
	}
	f.write("prod.json", []byte("x"))
	i.Look()
	if keyCount(i, f.ours) != 1 {
		t.Error("a slip takes the keys at once")
	}
	f.clock.set(start.Add(61 * time.Second))
	i.Look()
	if keyCount(i, f.ours) > 0 {
		t.Error("keys outlive what replaced them")
	}
	f.write("prod.json", spiffeDocument(t, f.ours))
	i.Look()
	if keyCount(i, f.ours) != 1 {
		t.Error("the file is well again and nobody looks")
	}
}
