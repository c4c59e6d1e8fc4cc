// Package failpoint kills the process at a named place of a commit, for the end-to-end tests of a build with the tag
// "failpoint". In every other build a place costs nothing: Hit is empty and inlined.
//
// Places: sealed, file-written, manifest-written, published, acknowledged.
package failpoint
