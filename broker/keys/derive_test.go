package keys_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker/keys"
)

// Replicas with one KEK derive one key for a label, another for each label, and
// nothing prints what they derive it from.
func TestDerive(t *testing.T) {
	t.Parallel()
	raw := bytes.Repeat([]byte("k"), 32)
	derive := func(raw []byte, label string) string {
		kek, err := keys.NewKEK(raw)
		if err != nil {
			t.Fatal(err)
		}
		key, err := kek.Derive(label)
		if err != nil || len(key) != 32 || bytes.Contains(key, raw[:8]) {
			t.Fatalf("%x, %v", key, err)
		}
		return string(key)
	}
	a := derive(raw, "a")
	if a != derive(bytes.Clone(raw), "a") || a == derive(raw, "b") || a == derive(bytes.Repeat([]byte("l"), 32), "a") {
		t.Error("not one key for one label and KEK")
	}
	own := bytes.Clone(raw)
	kek, err := keys.NewKEK(own)
	if err != nil {
		t.Fatal(err)
	}
	clear(own)
	if key, err := kek.Derive("a"); err != nil || string(key) != a {
		t.Errorf("the key is shared with the caller: %v", err)
	}
	if text := fmt.Sprintf("%+v", kek); strings.Contains(text, "107 107 107 107") {
		t.Errorf("it prints the key: %s", text)
	}
}
