package policy

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"

	"github.com/cambist/cambist/broker"
)

// readsDeepActors reports whether a condition looks at other actors than the
// current one, which is the first (RFC 8693 section 4.1: the others are for
// information). How many there are is no look at them.
func readsDeepActors(checked *ast.AST) bool {
	for _, actors := range ast.MatchDescendants(ast.NavigateAST(checked), func(e ast.NavigableExpr) bool {
		ref := checked.ReferenceMap()[e.ID()]
		return ref != nil && ref.Name == broker.AttrSubjectActors
	}) {
		parent, ok := actors.Parent()
		if !ok || parent.Kind() != ast.CallKind {
			return true
		}
		call := parent.AsCall()
		switch args := call.Args(); call.FunctionName() {
		case overloads.Size:
		case operators.Index:
			if args[1].Kind() != ast.LiteralKind || args[1].AsLiteral().Value() != int64(0) {
				return true
			}
		default:
			return true
		}
	}
	return false
}
