// Package arch holds the shape of the house as data and proves it: which floor
// a package stands on, who may import what from outside, which identifiers are
// banned where, and how big a file, a function or an interface may grow. It has
// no code of its own beside its tests.
package arch
