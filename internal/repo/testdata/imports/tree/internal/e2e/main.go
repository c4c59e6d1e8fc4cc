// Command e2e may use its own parts.
package main

import _ "github.com/weir-run/weir/internal/e2e/history"
