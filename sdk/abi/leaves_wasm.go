//go:build wasm && !purego && !tinygo

package abi

//go:noescape
func put(w *Writer, op PutOp, target, key string, value *byte, size int)

//go:noescape
func turn(w *Writer)

//go:noescape
func nextGroup(r *Cursor) bool

//go:noescape
func nextMessage(r *Cursor) bool
