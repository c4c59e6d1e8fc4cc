// Package router uses Kafka's client outside of its home.
package router

import (
	_ "bytes"

	_ "github.com/redis/go-redis/v9"
	_ "github.com/twmb/franz-go/pkg/kgo"
	_ "pgregory.net/rapid"
	_ "rsc.io/quote"
)
