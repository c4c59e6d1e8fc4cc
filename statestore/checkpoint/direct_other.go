//go:build !linux

package checkpoint

import (
	"errors"
	"os"
)

// setDirect is for Linux only.
func setDirect(*os.File, bool) error { return errors.ErrUnsupported }
