// Package policy turns policy documents into the Snapshot that decisions read:
// it parses files strictly, stores objects canonically, compiles patterns,
// templates and conditions, and finds the mappings of a workload in about a
// microsecond however many there are.
//
// What cannot be read refuses: a quarantined allow grants nothing, a
// quarantined deny, block, resource or issuer refuses all in its scope, and no
// older row is ever used instead.
package policy
