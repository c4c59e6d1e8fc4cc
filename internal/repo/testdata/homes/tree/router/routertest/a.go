// Package routertest is a suite.
package routertest

import _ "pgregory.net/rapid"
