// Package repo holds the habits of this repository as rules, and its test fails when one is broken: who may import whom,
// the one home of each third-party library, package comments, sizes, names, formatting, links, and what tracked files
// must not contain.
//
// It hides how files are listed and parsed. Its invariant: a rule is a pure function of a Tree, and each has a small bad
// tree in testdata on which it must complain. It owns nothing and changes nothing. It is not a linter of Go itself:
// vet and staticcheck run beside it in `make check`.
package repo
