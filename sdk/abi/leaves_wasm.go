//go:build wasm && !purego && !tinygo

package abi

//go:noescape
func put(w *Writer, op PutOp, target, key string, value *byte, size int)

//go:noescape
func group(p *Pass) int

//go:noescape
func message(p *Pass) bool

//go:noescape
func lastMessage(p *Pass) bool
