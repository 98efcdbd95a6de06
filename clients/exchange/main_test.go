package exchange_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Close waits for all that a client started: nothing is left when the tests end.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
