//go:build !linux

package checkpoint

import "io"

// canRecycle is for Linux only.
func canRecycle(string) (bool, error) { return false, nil }

// createRecycled is for Linux only.
func (*DirectoryStorage) createRecycled(string, string, func(io.Writer) error) (done bool, err error) {
	return false, nil
}
