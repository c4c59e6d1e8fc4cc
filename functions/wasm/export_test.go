package wasm

// Meter decodes, plans and rewrites a module, without wazero.
func Meter(b []byte) ([]byte, error) {
	m, refusal := decode(b)
	if refusal != nil {
		return nil, refusal
	}
	plans, refusal := m.plan(pieceCost)
	if refusal != nil {
		return nil, refusal
	}
	return rewrite(m, plans).encode(), nil
}
