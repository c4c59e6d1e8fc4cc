package repo

import (
	"fmt"
	"strconv"
	"strings"
)

// home says which packages may import a third-party module, so that replacing it touches one place.
type home struct {
	module string
	dirs   []string // as in the import table
	tests  bool     // test files and conformance suites anywhere may use it too
}

// libraries lists every third-party module that this one imports. The longest matching module counts.
var libraries = []home{
	{"github.com/goccy/go-yaml", []string{"functions", "cmd/weir"}, false}, // module.yaml; and `-o yaml`
	{"github.com/tetratelabs/wazero", []string{"functions/wasm"}, false},
	{"github.com/twmb/franz-go", []string{"router/kafkaio", "internal/kafkabroker", "internal/e2e/...", "internal/bench/..."}, true}, // checks look from outside
	{"github.com/valyala/fasthttp", []string{"router/httpio"}, false},
	{"github.com/danielgtaylor/huma/v2", []string{"deploy"}, false},
	{"github.com/spf13/cobra", []string{"cmd/weir"}, false},
	{"github.com/spf13/pflag", []string{"cmd/weir"}, false},
	{"github.com/knadh/koanf", []string{"cmd/weir"}, false},
	{"github.com/fsnotify/fsnotify", []string{"cmd/weir"}, false},
	{"github.com/redis/go-redis/v9", nil, false},
	{"github.com/klauspost/compress", []string{"router/kafkaio", "statestore/checkpoint"}, false},
	{"go.opentelemetry.io/otel", []string{"cmd/weir", "deploy", "functions/...", "router/...", "runtime/...", "internal/telemetry/..."}, true}, // the API: each package's metrics.go
	{"go.opentelemetry.io/otel/sdk", []string{"cmd/weir"}, true},
	{"go.opentelemetry.io/otel/exporters", []string{"cmd/weir"}, false},
	{"go.opentelemetry.io/proto/otlp", nil, true},
	{"google.golang.org/protobuf", nil, true},              // tests that read what is exported
	{"github.com/prometheus", []string{"cmd/weir"}, false}, // the way from the SDK to /metrics
	{"golang.org/x/sync", []string{"cmd/...", "deploy/...", "functions/...", "internal/...", "router/...", "runtime/...", "statestore/..."}, true},
	{"golang.org/x/sys", []string{"cmd/weir", "functions/wasm", "statestore/...", "internal/..."}, false},
	{"golang.org/x/term", []string{"cmd/weir"}, false},
	{"pgregory.net/rapid", nil, true},
	{"github.com/cespare/xxhash/v2", nil, true},
}

func homes(t *Tree) []Breach {
	var found []Breach
	for _, f := range t.Files {
		if f.Go == nil {
			continue
		}
		for _, spec := range f.Go.Imports {
			full, err := strconv.Unquote(spec.Path.Value)
			if err != nil || full == module || strings.HasPrefix(full, module+"/") || standard(full) {
				continue
			}
			if what := checkHome(f, full); what != "" {
				found = append(found, Breach{f.Path, f.Go.Line(spec.Pos()), what})
			}
		}
	}
	return found
}

// standard tells the standard library by the first part of the path, which has no dot there.
func standard(full string) bool {
	first, _, _ := strings.Cut(full, "/")
	return !strings.Contains(first, ".")
}

func checkHome(f *File, full string) string {
	var best *home
	for i := range libraries {
		h := &libraries[i]
		if (full == h.module || strings.HasPrefix(full, h.module+"/")) && (best == nil || len(h.module) > len(best.module)) {
			best = h
		}
	}
	switch {
	case best == nil:
		return fmt.Sprintf("%s has no home", full)
	case matchAny(best.dirs, f.Dir()), best.tests && (f.Go.Test || isSuite(f.Dir())):
		return ""
	case len(best.dirs) == 0 && best.tests:
		return fmt.Sprintf("%s is for tests only", full)
	case len(best.dirs) == 0:
		return fmt.Sprintf("%s is not used yet: give it a home first", full)
	}
	return fmt.Sprintf("%s imports %s, whose home is %s", f.Dir(), full, strings.Join(best.dirs, ", "))
}

// isSuite tells a conformance suite, such as statestore/statestoretest.
func isSuite(dir string) bool { return strings.HasSuffix(dir, "test") }
