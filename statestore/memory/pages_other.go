//go:build !linux && !race

package memory

// hugePages is a wish that only Linux knows.
func hugePages([]byte) {}
