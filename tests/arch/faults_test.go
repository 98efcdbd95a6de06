package arch_test

import (
	"strings"
	"testing"
	"testing/fstest"
)

// Each check finds what it is for, and leaves alone what stands next to it.
func TestEveryCheckFinds(t *testing.T) {
	t.Parallel()
	bare := func(h house) []string { return noPackageVariables(h, nil) }
	big := func(h house) []string { return sizes(h, nil) }
	many := func(h house) []string { return names(h, nil) }
	for name, c := range map[string]struct {
		check func(house) []string
		path  string
		text  string
		want  string // a part of the one fault; empty if there is none
	}{
		"floor: no row":            {everyRoomHasAFloor, "broker/new/x.go", "", "0 rows"},
		"floor: root":              {everyRoomHasAFloor, "x.go", "", "0 rows"},
		"floor: a row":             {everyRoomHasAFloor, "broker/authn/mtls/x.go", "", ""},
		"imports: up":              {importsPointDown, "broker/x.go", `import _ "github.com/cambist/cambist/broker/policy"`, "floor 2"},
		"imports: beside":          {importsPointDown, "broker/keys/x.go", `import _ "github.com/cambist/cambist/broker/audit"`, "floor 3"},
		"imports: down":            {importsPointDown, "broker/policy/x.go", `import _ "github.com/cambist/cambist/broker"`, ""},
		"imports: up in a test":    {importsPointDown, "broker/x_test.go", `import _ "github.com/cambist/cambist/broker/policy"`, ""},
		"tests: a command":         {testsStayAtHome, "broker/x_test.go", `import _ "github.com/cambist/cambist/cmd/cambist"`, "cmd/cambist"},
		"tests: another room":      {testsStayAtHome, "tests/e2e/x_test.go", `import _ "github.com/cambist/cambist/tests/rooms"`, "tests/rooms"},
		"tests: the helper":        {testsStayAtHome, "store/x_test.go", `import _ "github.com/cambist/cambist/tests/pgtest"`, ""},
		"clients: the broker":      {clientsAreLight, "clients/verify/x.go", `import _ "github.com/cambist/cambist/broker"`, "imports broker"},
		"clients: a leaf":          {clientsAreLight, "clients/verify/x.go", `import _ "github.com/cambist/cambist/broker/jws"`, ""},
		"stranger: a leaf":         {strangersStayOut, "tests/conformance/x.go", `import _ "github.com/cambist/cambist/broker/jws"`, "broker/jws"},
		"stranger: in a test":      {strangersStayOut, "tests/mutate/x_test.go", `import _ "github.com/cambist/cambist/broker"`, "imports broker"},
		"stranger: another room":   {strangersStayOut, "tests/e2e/x.go", `import _ "github.com/cambist/cambist/broker"`, ""},
		"outside: unknown":         {outsideByTable, "broker/x.go", `import _ "example.com/x"`, "example.com/x"},
		"outside: not for all":     {outsideByTable, "broker/x.go", `import _ "github.com/jackc/pgx/v5/pgxpool"`, "pgxpool"},
		"outside: longest row":     {outsideByTable, "broker/x.go", `import _ "github.com/spiffe/go-spiffe/v2/workloadapi"`, "workloadapi"},
		"outside: only in tests":   {outsideByTable, "broker/x.go", `import _ "pgregory.net/rapid"`, "rapid"},
		"outside: half a name":     {outsideByTable, "store/postgres/x.go", `import _ "github.com/jackc/pgx/v55"`, "v55"},
		"outside: at home":         {outsideByTable, "store/postgres/x.go", `import _ "github.com/jackc/pgx/v5/pgxpool"`, ""},
		"outside: standard":        {outsideByTable, "broker/x.go", `import _ "net/netip"`, ""},
		"clock":                    {noClockNoChance, "broker/x.go", "import \"time\"\nvar _ = time.Now()", "time.Now"},
		"clock, as a value":        {noClockNoChance, "broker/x.go", "import \"time\"\nvar _ = time.Now", "time.Now"},
		"clock, by another name":   {noClockNoChance, "broker/x.go", "import t \"time\"\nvar _ = t.Since", "time.Since"},
		"clock, without a name":    {noClockNoChance, "broker/x.go", `import . "time"`, "own names"},
		"clock in the wiring":      {noClockNoChance, "broker/server/x.go", "import \"time\"\nvar _ = time.Now", ""},
		"clock in a wiring file":   {noClockNoChance, "clients/exchange/env.go", "import (\"os\"; \"time\")\nvar _, _ = time.Now, os.Getenv", ""},
		"clock beside that file":   {noClockNoChance, "clients/exchange/x.go", "import \"time\"\nvar _ = time.Now", "time.Now"},
		"clock in a test":          {noClockNoChance, "broker/x_test.go", "import \"time\"\nvar _ = time.Now", ""},
		"another package's Now":    {noClockNoChance, "broker/x.go", "import \"x/clock\"\nvar _ = clock.Now", ""},
		"environment":              {noClockNoChance, "store/x.go", "import \"os\"\nvar _ = os.Getenv", "os.Getenv"},
		"loose JSON":               {noClockNoChance, "store/x.go", "import \"encoding/json\"\nvar _ = json.Unmarshal", "json.Unmarshal"},
		"chance":                   {noClockNoChance, "cmd/x/x.go", `import _ "math/rand/v2"`, "math/rand"},
		"chance in a test":         {noClockNoChance, "broker/x_test.go", `import _ "math/rand"`, "math/rand"},
		"true chance":              {noClockNoChance, "broker/x.go", `import _ "crypto/rand"`, ""},
		"init":                     {noClockNoChance, "cmd/x/x.go", "func init() {}", "func init"},
		"a method init":            {noClockNoChance, "cmd/x/x.go", "type t int\nfunc (t) init() {}", ""},
		"a listener":               {noListeners, "broker/mint/jwtat/x.go", "import \"net/http\"\ntype x http.Handler", "http.Handler"},
		"a client":                 {noListeners, "broker/keys/x.go", "import \"net/http\"\ntype x http.Client", ""},
		"a listener elsewhere":     {noListeners, "broker/web/x.go", "import \"net/http\"\ntype x http.Handler", ""},
		"SQL":                      {sqlAtHome, "broker/audit/x.go", "const q = `\n\tSELECT 1`", "SQL"},
		"SQL in the store":         {sqlAtHome, "store/sqlstore/x.go", "const q = `SELECT 1`", ""},
		"a route":                  {sqlAtHome, "broker/adminapi/x.go", "const q = `DELETE /v1/blocks`", ""},
		"variable":                 {bare, "broker/x.go", "var x int", "variable x"},
		"variable: two":            {bare, "broker/x.go", "var (\n\t_ = 1\n\tx, y = f()\n)", "variable"},
		"variable: a struct":       {bare, "broker/x.go", "import \"sync\"\nvar x = sync.Mutex{}", "variable x"},
		"variable: an error":       {bare, "broker/x.go", "import \"errors\"\nvar ErrX = errors.New(`x`)", ""},
		"variable: a typed error":  {bare, "broker/x.go", "var errX = &x{}", ""},
		"variable: error replaced": {bare, "broker/x.go", "import \"errors\"\nvar ErrX = errors.New(`x`)\nfunc f() { ErrX = nil }", "ErrX"},
		"variable: interface":      {bare, "broker/x.go", "var _ I = T{}", ""},
		"variable: embedded":       {bare, "broker/x.go", "import \"embed\"\n//go:embed x\nvar Files embed.FS", ""},
		"variable: a table":        {bare, "broker/x.go", "var x = map[string]int{}\nvar y = []int{}\nvar z = func() {}", ""},
		"variable: exported table": {bare, "broker/x.go", "var X = []int{}", "variable X"},
		"variable: table element":  {bare, "broker/x.go", "var x = []int{}\nfunc f() { x[0] = 1 }", "variable x"},
		"variable: table field":    {bare, "broker/x.go", "var x = []struct{ n int }{}\nfunc f() { (x[0]).n++ }", "variable x"},
		"variable: table deleted":  {bare, "broker/x.go", "var x = map[string]int{}\nfunc f() { delete(x, ``) }", "variable x"},
		"variable: table address":  {bare, "broker/x.go", "var x = []int{}\nfunc f() { g(&x) }", "variable x"},
		"variable: table ranged":   {bare, "broker/x.go", "var x = []int{}\nfunc f() { for x[0] = range 3 {} }", "variable x"},
		"variable in the wiring":   {bare, "cmd/x/x.go", "var x int", ""},
		"variable in a test":       {bare, "broker/x_test.go", "var x int", ""},
		"a test sleeps":            {testsRun, "broker/x_test.go", "import \"time\"\nfunc f() { time.Sleep(1) }", "time.Sleep"},
		"a test skips":             {testsRun, "broker/x_test.go", "func f(tb testing.TB) { g(func() { tb.Skip(1) }) }", "t.Skip"},
		"a property skips":         {testsRun, "broker/x_test.go", "func f(t *testing.T) { g(func(t *rapid.T) { t.Skip(1) }) }", ""},
		"a fuzz target skips":      {testsRun, "broker/x_test.go", "func f(f *testing.F) { f.Fuzz(func(t *testing.T) { t.Skip(1) }) }", ""},
		"rows are skipped":         {testsRun, "broker/x_test.go", "func f(rows T) { rows.Skip(1) }", ""},
		"nolint: bare":             {exceptionsSayWhy, "broker/x.go", "//nolint\nvar x = 1", "nolint"},
		"nolint: without a reason": {exceptionsSayWhy, "broker/x.go", "//nolint:gosec\nvar x = 1", "nolint"},
		"nolint: without a linter": {exceptionsSayWhy, "broker/x.go", "//nolint // since\nvar x = 1", "nolint"},
		"nolint: said":             {exceptionsSayWhy, "broker/x.go", "//nolint:gosec,noctx // since\nvar x = 1", ""},
		"size: file":               {big, "broker/x.go", strings.Repeat("\n", 299), "at most 300"},
		"size: file at the limit":  {big, "broker/x.go", strings.Repeat("\n", 298), ""},
		"size: test file":          {big, "broker/x_test.go", strings.Repeat("\n", 599), "at most 600"},
		"size: helper":             {big, "tests/x/x.go", strings.Repeat("\n", 500), ""},
		"size: function":           {big, "broker/x.go", "func f() {" + strings.Repeat("\n", 60) + "}", "at most 60"},
		"size: at the limit":       {big, "broker/x.go", "func f() {" + strings.Repeat("\n", 59) + "}", ""},
		"parameters":               {big, "broker/x.go", "func f(a, b, c int, d string, e int) {}", "at most 4"},
		"parameters: a tail":       {big, "broker/x.go", "func f(a, b, c int, d string, e ...int) {}", ""},
		"parameters: a method":     {big, "broker/x.go", "type i interface { f(a, b, c, d, e int) }", "at most 4"},
		"methods":                  {big, "broker/x.go", "type i interface { a(); b(); c(); d(); e(); f() }", "at most 5"},
		"methods: at the limit":    {big, "broker/x.go", "type i interface { a(); b(); c(); d(); e(); x.Y }", ""},
		"depth":                    {depth, "broker/authn/mtls/deep/x.go", "", "4 folders"},
		"depth: at the limit":      {depth, "broker/authn/mtls/x.go", "", ""},
		"names":                    {many, "broker/x.go", "type T int\n" + strings.Repeat("const (\n\tA T = 1\n\tB\n)\n", 40) + strings.Repeat("func F() {}\n", 30), "31 names"},
		"names: at the limit":      {many, "broker/x.go", "type T int\nfunc (T) M() {}\nconst A T = 1\n" + strings.Repeat("func F() {}\n", 29), ""},
		"names: loose constants":   {many, "broker/x.go", strings.Repeat("const A = 1\n", 31), "31 names"},
		"no package comment":       {documented, "broker/x.go", "", "package comment"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := load(t, fstest.MapFS{c.path: {Data: []byte("package x\n" + c.text + "\n")}})
			faults := c.check(h)
			if c.want == "" && len(faults) != 0 {
				t.Errorf("found %q, want nothing", faults)
			}
			if c.want != "" && (len(faults) == 0 || !strings.Contains(faults[0], c.want)) {
				t.Errorf("found %q, want one with %q", faults, c.want)
			}
		})
	}
}

func TestDocumentedFinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"function":         {"func F() {}", 1},
		"said":             {"// F is.\nfunc F() {}", 0},
		"method":           {"// T is.\ntype T int\nfunc (t *T) M() {}", 1},
		"generic method":   {"// T is.\ntype T[X any] int\nfunc (t *T[X]) M() {}", 1},
		"of a hidden type": {"type t int\nfunc (t t) M() {}", 0},
		"type":             {"type T int", 1},
		"types in a group": {"// Both.\ntype (\n\tT int\n\tU int\n)", 2},
		"constants":        {"// All.\nconst (\n\tA = 1\n\tB = 2\n)", 0},
		"constant beside":  {"const (\n\tA = 1 // is\n\tB = 2\n)", 1},
		"hidden":           {"func f() {}\nvar x = 1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := load(t, fstest.MapFS{"broker/x.go": {Data: []byte("// Package x is.\npackage x\n" + c.text + "\n")}})
			if faults := documented(h); len(faults) != c.want {
				t.Errorf("found %q, want %d", faults, c.want)
			}
		})
	}
}

// A list of exceptions that outlives its cause is found.
func TestExceptionsEnd(t *testing.T) {
	t.Parallel()
	h := load(t, fstest.MapFS{"broker/x.go": {Data: []byte("package x\nvar x int\nfunc f(a, b, c, d, e int) {}\n")}})
	for name, c := range map[string]struct {
		faults []string
		want   int
	}{
		"variable listed":   {noPackageVariables(h, map[string]string{"broker.x": "why"}), 0},
		"variable gone":     {noPackageVariables(h, map[string]string{"broker.x": "why", "broker.y": "why"}), 1},
		"budget listed":     {sizes(h, map[string]int{"broker.f": 5}), 0},
		"budget overdrawn":  {sizes(h, map[string]int{"broker.f": 4}), 1},
		"budget not needed": {sizes(h, map[string]int{"broker.f": 5, "broker/x.go": 400}), 1},
	} {
		if len(c.faults) != c.want {
			t.Errorf("%s: found %q, want %d", name, c.faults, c.want)
		}
	}
}

// What the go command leaves out, and what a machine wrote, is not looked at.
func TestLoadLeavesOut(t *testing.T) {
	t.Parallel()
	bad := &fstest.MapFile{Data: []byte("package x\nvar x int\n")}
	h := load(t, fstest.MapFS{
		"broker/testdata/x.go": bad, ".tools/x.go": bad, "_old/x.go": bad, "vendor/x.go": bad, "zz/x.go": bad, "web/node_modules/x.go": bad,
		"broker/made.go": {Data: []byte("// Code generated by x. DO NOT EDIT.\n\npackage x\nvar x int\n")},
		"broker/x.go":    bad,
	})
	if len(h.packages) != 1 || len(h.packages["broker"].files) != 1 {
		t.Errorf("read %v", h.dirs())
	}
}
