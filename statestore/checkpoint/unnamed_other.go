//go:build !linux

package checkpoint

import "io"

// createUnnamed is for Linux only.
func (*DirectoryStorage) createUnnamed(string, string, func(io.Writer) error) (supported bool, err error) {
	return false, nil
}
