// Package weir runs before its caller.
package weir

func init() {}
