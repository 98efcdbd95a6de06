package arch_test

// floors is the one table of the house: an import points to a lower floor, and
// rooms on one floor never import each other. A package without a row fails.
var floors = []struct {
	floor int
	rooms []string
}{
	{0, []string{"broker/oauth", "broker/jws", "migrations"}},
	{1, []string{"broker", "broker/dpop"}},
	{2, []string{"broker/policy", "store", "broker/authn", "broker/subject", "broker/web",
		"clients/verify", "clients/exchange", "clients/admin", "broker/devkit/trust", "broker/devkit/idp"}},
	{3, []string{"broker/keys", "broker/audit", "broker/fleet", "broker/insight", "broker/plan", "broker/telemetry",
		"store/sqlstore", "store/storetest", "broker/devkit/workload", "clients/agent", "clients/enforce/*", "clients/exchange/*"}},
	{4, []string{"broker/authn/*", "broker/subject/*", "broker/mint/*", "store/postgres", "store/sqlite"}},
	{5, []string{"broker/tokenapi", "broker/guardapi", "broker/adminapi"}},
	{6, []string{"broker/server"}},
	{7, []string{"broker/dev"}},
	{8, []string{"cmd/*"}},
	{9, []string{"tests/*"}},
}

// clientRooms is all of ours that clients/* may import besides one another, so
// that who takes a client does not take the broker.
var clientRooms = []string{"broker/oauth", "broker/jws", "broker/dpop", "clients/**"}

// strangers know nothing of ours: they see what anybody sees.
var strangers = []string{"tests/conformance", "tests/mutate"}

// outside says who may import what is not ours in code that ships; the longest
// row that fits decides, and what has no row is not imported at all. Tests may
// import more: they are not in the binary.
var outside = []struct {
	path  string
	rooms []string
	why   string
}{
	{"cel.dev/cel-go", []string{"broker/policy"}, "conditions are compiled in one place"},
	{"github.com/alecthomas/kong", []string{"cmd/*"}, "flag grammar"},
	{"github.com/coreos/go-oidc/v3", nil, "the tests' second opinion on our issuer"},
	{"github.com/danielgtaylor/huma/v2", []string{"broker/adminapi"}, "the REST API and its description"},
	{"github.com/go-chi/chi/v5", []string{"broker/*api"}, "routes"},
	{"github.com/go-jose/go-jose/v4", []string{"broker/jws", "tests/conformance"}, "one strict parser; elsewhere only a test's second opinion"},
	{"github.com/go-json-experiment/json", anywhere, "the strict decoder"},
	{"github.com/google/go-cmp", nil, "tests"},
	{"github.com/jackc/pgx/v5", []string{"store/postgres", "tests/*"}, "PostgreSQL"},
	{"github.com/knadh/koanf", []string{"cmd/*"}, "settings"},
	{"github.com/maypok86/otter/v2", []string{"broker/web"}, "a bounded cache"},
	{"github.com/pressly/goose/v3", []string{"store/sqlstore", "store/postgres", "store/sqlite"}, "migrations"},
	{"github.com/prometheus/client_golang", []string{"broker/telemetry", "broker/server"}, "metrics decorate the domain from outside"},
	{"github.com/spiffe/go-spiffe/v2", anywhere, "SPIFFE's words"},
	{"github.com/spiffe/go-spiffe/v2/proto", grpcRooms, "gRPC"},
	{"github.com/spiffe/go-spiffe/v2/workloadapi", grpcRooms, "127 packages, 61 of them gRPC"},
	{"go.opentelemetry.io", []string{"broker/telemetry", "broker/server"}, "as Prometheus"},
	{"go.uber.org/goleak", nil, "tests"},
	{"go.yaml.in/yaml/v3", []string{"broker/policy", "broker/server", "cmd/*", "tests/conformance"}, "files that people write"},
	{"golang.org/x/oauth2", []string{"clients/**"}, "a face of the SDK"},
	{"golang.org/x/sync", anywhere, "errgroup and singleflight"},
	{"golang.org/x/sys", anywhere, "clocks, fdatasync, peers"},
	{"golang.org/x/time", anywhere, "rate"},
	{"google.golang.org/grpc", grpcRooms, "gRPC"},
	{"google.golang.org/protobuf", grpcRooms, "the messages of gRPC"},
	{"modernc.org/sqlite", []string{"store/sqlite"}, "SQLite"},
	{"pgregory.net/rapid", nil, "tests"},
}

var (
	anywhere  = []string{"*", "*/*", "*/*/*"}
	grpcRooms = []string{"broker/devkit/workload", "broker/dev", "clients/agent", "clients/enforce/grpc", "clients/enforce/extauthz", "clients/exchange/spiffe",
		"broker/server", "cmd/*"}
)

// light is what a client must not pull in, not even through others.
var light = []string{"google.golang.org/grpc", "github.com/jackc/pgx", "cel.dev", "modernc.org", "github.com/prometheus"}

// impure may read the clock and the environment and hold state: whoever wires
// hands them down.
var impure = []struct {
	rooms []string
	why   string
}{
	{[]string{"cmd/*", "broker/server", "broker/dev"}, "the wiring injects the clock, the environment and the settings"},
	{helpers, "code of tests"},
}

// wiring are files outside those rooms that may read the clock and the
// environment, each with its reason.
var wiring = map[string]string{
	"clients/exchange/env.go": "New is all the wiring that a program with the SDK has",
}

// helpers are rooms of tests: their files have the tests' budget.
var helpers = []string{"tests/**", "store/storetest"}

// testRooms are rooms of tests/* that tests elsewhere may import: things that
// stand around what is tested.
var testRooms = []string{"tests/pgtest", "tests/dpoptest"}

// over are the places that stand over a budget, with what they may reach: a file
// by its path and lines, a function by its package, name and parameters. The list
// gets shorter; an entry that is not needed any more fails.
var over = map[string]int{
	"broker/attenuate.go":  330,
	"broker.record":        6,
	"broker/policy.object": 5,
}

// tables are package variables that no rule excuses, each with its reason.
var tables = map[string]string{
	"broker.checks":           "the checks of Decide, read through pointers so that none is copied",
	"broker/jws.strictBase64": "an encoding of the standard library, made strict; never written",
}

// noServer is where the server side of net/http has no place.
var noServer = []string{"broker", "broker/policy", "broker/keys", "broker/mint/**", "store/**"}

// sqlRooms is where SQL text has its place.
var sqlRooms = []string{"store/**", "migrations", "tests/**"}

// manyNames are packages with more than 30 exported names, each with its reason.
var manyNames = map[string]string{
	"broker":         "the words of the domain",
	"broker/oauth":   "the words of the RFCs",
	"broker/jws":     "algorithms, keys, parsing and signing of one format",
	"clients/verify": "tokens, peers, proofs, routes and headers: all that an adapter of any framework needs",
}
