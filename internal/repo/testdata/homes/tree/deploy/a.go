// Package deploy may hold instruments, but no exporter.
package deploy

import (
	_ "go.opentelemetry.io/otel/exporters/prometheus"
	_ "go.opentelemetry.io/otel/metric"
)
