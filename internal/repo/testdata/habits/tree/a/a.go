// Package a comes back later.
package a

type set struct{}

// A method may be called init.
func (set) init() {}

func init() {}

// TODO: say which issue.
// TODO(#12): this one does.
