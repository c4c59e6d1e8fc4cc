// Package a is crooked.
package a

func f()  {}
