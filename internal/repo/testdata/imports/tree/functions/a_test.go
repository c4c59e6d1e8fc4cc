package functions_test

import _ "github.com/weir-run/weir/internal/e2e/history"
