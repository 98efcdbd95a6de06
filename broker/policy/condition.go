package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/interpreter"

	"github.com/cambist/cambist/broker"
)

// Bounds of a condition. The cost unit is CEL's own; ten thousand of them are
// well under a millisecond.
const (
	maxConditionBytes = 1 << 10
	maxConditionCost  = 10_000
	maxConditions     = 20_000
	maxListSize       = 100
	maxStringSize     = 1 << 10
)

// attributes are what every condition may read, with their types; package
// broker says what they mean.
var attributes = map[string]*cel.Type{
	broker.AttrWorkloadID:          cel.StringType,
	broker.AttrWorkloadTrustDomain: cel.StringType,
	broker.AttrWorkloadPath:        cel.StringType,
	broker.AttrWorkloadNamespace:   cel.StringType,
	broker.AttrWorkloadAccount:     cel.StringType,
	broker.AttrWorkloadProof:       cel.StringType,
	broker.AttrSubjectKind:         cel.StringType,
	broker.AttrSubjectID:           cel.StringType,
	broker.AttrSubjectIssuer:       cel.StringType,
	broker.AttrSubjectClientID:     cel.StringType,
	broker.AttrSubjectScopes:       cel.ListType(cel.StringType),
	broker.AttrSubjectActors:       cel.ListType(cel.StringType),
	broker.AttrRequestResource:     cel.StringType,
	broker.AttrRequestAudience:     cel.StringType,
	broker.AttrRequestScopes:       cel.ListType(cel.StringType),
	broker.AttrRequestGrant:        cel.StringType,
	broker.AttrRequestTime:         cel.TimestampType,
}

// conditions interns compiled conditions by what they can read and their text,
// for all snapshots. It is safe for use by many goroutines: a condition is
// compiled when it is first asked.
type conditions struct {
	mu       sync.Mutex
	known    map[string]*condition
	programs map[string]*cel.Env
}

func newConditions() *conditions {
	return &conditions{known: map[string]*condition{}, programs: map[string]*cel.Env{}}
}

var errTooManyConditions = errors.New("there are more than 20000 different conditions")

// get returns the condition for text over what an issuer's claims and the
// captures of a rule let it read.
func (cs *conditions) get(text string, issuer *broker.Issuer, captures []string) (*condition, error) {
	var key strings.Builder
	if issuer != nil {
		for _, rule := range issuer.Claims {
			fmt.Fprintf(&key, "%s:%d ", rule.Name, rule.Type)
		}
	}
	fmt.Fprintf(&key, "| %s", strings.Join(captures, " "))
	signature := key.String()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c, ok := cs.known[signature+"\x00"+text]; ok {
		return c, nil
	}
	if len(cs.known) >= maxConditions {
		return nil, errTooManyConditions
	}
	c := &condition{text: text, owner: cs, signature: signature, issuer: issuer, captures: captures}
	cs.known[signature+"\x00"+text] = c
	return c, nil
}

// keep forgets the conditions that no rule has any longer, so that the bound is
// on those in use and not on all that there ever were.
func (cs *conditions) keep(live map[*condition]bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	maps.DeleteFunc(cs.known, func(_ string, c *condition) bool { return !live[c] })
	clear(cs.programs)
}

// environment returns what conditions of that signature are compiled in.
func (cs *conditions) environment(c *condition) (*cel.Env, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if e, ok := cs.programs[c.signature]; ok {
		return e, nil
	}
	options := []cel.EnvOption{cel.StdLib(cel.StdLibSubset(library())), cel.ParserExpressionSizeLimit(maxConditionBytes)}
	for name, kind := range c.attributes() {
		options = append(options, cel.Variable(name, kind))
	}
	e, err := cel.NewCustomEnv(options...)
	if err != nil {
		return nil, err
	}
	cs.programs[c.signature] = e
	return e, nil
}

// library is the standard library without regular expressions, whatever they
// are spelled as: they are the one function whose cost its input decides. And
// without time zones: they are read from the files of the machine, so two
// replicas could differ, and a replay could.
func library() *env.LibrarySubset {
	subset := env.NewLibrarySubset().AddExcludedFunctions(env.NewFunction(overloads.Matches))
	for name, zoned := range map[string]string{
		overloads.TimeGetFullYear: overloads.TimestampToYearWithTz, overloads.TimeGetMonth: overloads.TimestampToMonthWithTz,
		overloads.TimeGetDayOfYear: overloads.TimestampToDayOfYearWithTz, overloads.TimeGetDayOfMonth: overloads.TimestampToDayOfMonthZeroBasedWithTz,
		overloads.TimeGetDate: overloads.TimestampToDayOfMonthOneBasedWithTz, overloads.TimeGetDayOfWeek: overloads.TimestampToDayOfWeekWithTz,
		overloads.TimeGetHours: overloads.TimestampToHoursWithTz, overloads.TimeGetMinutes: overloads.TimestampToMinutesWithTz,
		overloads.TimeGetSeconds: overloads.TimestampToSecondsWithTz, overloads.TimeGetMilliseconds: overloads.TimestampToMillisecondsWithTz,
	} {
		subset.AddExcludedFunctions(env.NewFunction(name, env.NewOverload(zoned, nil, nil)))
	}
	return subset
}

func claimType(t broker.ClaimType) *cel.Type {
	switch t {
	case broker.ClaimBool:
		return cel.BoolType
	case broker.ClaimInt:
		return cel.IntType
	case broker.ClaimStrings, broker.ClaimEnum:
		return cel.ListType(cel.StringType)
	default:
		return cel.StringType
	}
}

// condition is one compiled when.
type condition struct {
	text      string
	owner     *conditions
	signature string
	issuer    *broker.Issuer // nil unless it is for one
	captures  []string

	once    sync.Once
	program cel.Program
	reads   []string
	deep    bool // it looks at actors that handed the token on
	err     error
}

// attributes returns all that the condition may read, with types.
func (c *condition) attributes() map[string]*cel.Type {
	all := maps.Clone(attributes)
	if c.issuer != nil {
		for _, rule := range c.issuer.Claims {
			all[broker.AttrUserPrefix+rule.Name] = claimType(rule.Type)
		}
	}
	for _, name := range c.captures {
		all[broker.AttrCapturedPrefix+name] = cel.StringType
	}
	return all
}

// fix says how to mend a condition that does not compile: for a name that is
// not there the nearest one that is, else all that there are.
func (c *condition) fix() string {
	known := sortedKeys(c.attributes())
	words := strings.FieldsFunc(c.text, func(r rune) bool {
		return r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	for _, word := range words {
		if !strings.Contains(word, ".") || slices.Contains(known, word) {
			continue
		}
		if best := nearest(word, known); best != "" {
			return fmt.Sprintf("did you mean %s?", best)
		}
	}
	return "it may read " + strings.Join(known, ", ")
}

// compile type-checks and bounds the condition, once.
func (c *condition) compile() error {
	c.once.Do(func() { c.err = c.build() })
	return c.err
}

func (c *condition) build() error {
	if len(c.text) > maxConditionBytes {
		return fmt.Errorf("it is longer than %d bytes", maxConditionBytes)
	}
	e, err := c.owner.environment(c)
	if err != nil {
		return err
	}
	checked, issues := e.Compile(c.text)
	if issues.Err() != nil {
		return errors.New(oneLine(issues.Err().Error()))
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return fmt.Errorf("it is a %s, not true or false", checked.OutputType())
	}
	cost, err := e.EstimateCost(checked, sizes{})
	if err != nil {
		return err
	}
	if cost.Max > maxConditionCost {
		return fmt.Errorf("it may cost %d, more than %d", cost.Max, maxConditionCost)
	}
	for _, ref := range checked.NativeRep().ReferenceMap() {
		if strings.Contains(ref.Name, ".") && !slices.Contains(c.reads, ref.Name) {
			c.reads = append(c.reads, ref.Name)
		}
	}
	slices.Sort(c.reads)
	c.deep = readsDeepActors(checked.NativeRep())
	c.program, err = e.Program(checked, cel.CostLimit(maxConditionCost), cel.EvalOptions(cel.OptOptimize))
	return err
}

// oneLine cuts CEL's drawing of the place off its message.
func oneLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return strings.TrimPrefix(first, "ERROR: ")
}

// Holds evaluates the condition. What is not there is an error, never a default.
func (c *condition) Holds(f *broker.Facts) (bool, error) {
	if err := c.compile(); err != nil {
		return false, err
	}
	value, _, err := c.program.Eval(activation{f})
	if err != nil {
		return false, err
	}
	holds, ok := value.Value().(bool)
	if !ok {
		return false, errors.New("the condition is not true or false")
	}
	return holds, nil
}

// Reads names the attributes that the condition reads.
func (c *condition) Reads() []string {
	if c.compile() != nil {
		return nil
	}
	return c.reads
}

// activation gives CEL the facts by name.
type activation struct{ facts *broker.Facts }

// ResolveName returns the attribute.
func (a activation) ResolveName(name string) (any, bool) { return a.facts.Lookup(name) }

// Parent returns nil: there is no other scope.
func (a activation) Parent() interpreter.Activation { return nil }

// sizes tells the cost estimate how large attributes can be: what parsers and
// verifiers let through.
type sizes struct{}

// EstimateSize bounds lists and strings alike.
func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	if node.Type() != nil && node.Type().Kind() == cel.ListKind {
		return &cost.SizeEstimate{Max: maxListSize}
	}
	return &cost.SizeEstimate{Max: maxStringSize}
}

// EstimateCallCost leaves the cost of functions to CEL.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
