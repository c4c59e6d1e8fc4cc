//go:build !wasm || purego || tinygo

package abi

func put(w *Writer, op PutOp, target, key string, value *byte, size int) {
	putInGo(w, op, target, key, value, size)
}

func group(p *Pass) int { return groupInGo(p) }

func message(p *Pass) bool { return messageInGo(p) }
