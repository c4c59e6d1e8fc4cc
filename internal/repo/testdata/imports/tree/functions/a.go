// Package functions reaches up.
package functions

import _ "github.com/weir-run/weir/router"
