package router_test

import (
	_ "github.com/twmb/franz-go/pkg/kgo"
	_ "github.com/valyala/fasthttp"
	_ "pgregory.net/rapid"
)
