// Package weir drags the platform into a guest.
package weir

import (
	_ "github.com/weir-run/weir/functions"
	_ "github.com/weir-run/weir/sdk/abi"
)
