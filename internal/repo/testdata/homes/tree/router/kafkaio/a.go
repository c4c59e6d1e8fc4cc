// Package kafkaio is the home.
package kafkaio

import _ "github.com/twmb/franz-go/pkg/kgo"
