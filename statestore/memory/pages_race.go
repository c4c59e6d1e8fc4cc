//go:build race

package memory

// pages takes from the Go heap under the race detector, which does not see other memory.
func pages(size int) ([]byte, error) { return make([]byte, size), nil }

func returnPages([]byte) error { return nil }
