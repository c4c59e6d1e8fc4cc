package repo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/weir-run/weir"

// row says which packages of this module those of one directory may import. A package without a row of its own has
// that of the nearest directory above; packages of one row may import one another.
type row struct {
	dir   string
	allow []string // directories; "x/..." is x and all below it
}

// table is the drawing in ARCHITECTURE.md. Its order does not matter.
var table = []row{
	{"functions", nil},
	{"functions/wasm", []string{"functions", "sdk/abi"}},

	{"router", []string{"functions"}},
	{"router/routertest", []string{"router", "functions"}},
	{"router/kafkaio", []string{"router", "functions", "internal/planted"}},
	{"router/httpio", []string{"router", "functions", "internal/telemetry"}},

	{"statestore", []string{"functions"}},
	{"statestore/statestoretest", []string{"statestore", "functions"}},
	{"statestore/memory", []string{"statestore", "functions"}},
	{"statestore/checkpoint", []string{"statestore", "functions", "internal/planted"}},
	{"statestore/checkpoint/checkpointtest", []string{"statestore/checkpoint", "statestore", "functions"}},

	{"runtime", []string{"runtime/internal/wire"}},
	{"runtime/internal/wire", []string{"functions", "router", "statestore/checkpoint"}}, // messages carry positions and file names
	// The simulation is judged by the checker of the e2e proof.
	{"runtime/internal/sim", []string{"runtime/...", "statestore/...", "router/...", "functions", "sdk/abi", "internal/planted",
		"internal/e2e/history", "internal/e2e/workload"}},
	{"runtime/runtimetest", []string{"internal/telemetry", "runtime/...", "statestore/...", "router/...", "functions/...", "sdk/abi"}},
	{"runtime/jobmanager", []string{"runtime/internal/wire", "statestore", "statestore/checkpoint", "router", "functions", "internal/failpoint", "internal/telemetry", "internal/planted"}},
	{"runtime/resourcemanager", []string{"runtime/internal/wire", "functions"}},
	{"runtime/taskmanager", []string{"runtime/internal/wire", "statestore", "statestore/checkpoint", "router", "functions", "sdk/abi", "internal/failpoint", "internal/telemetry", "internal/planted"}},

	{"deploy", []string{"runtime/jobmanager", "statestore", "statestore/checkpoint", "router", "functions"}},
	{"cmd/weir", []string{"runtime/...", "deploy/...", "statestore/...", "router/...", "functions/...", "sdk", "sdk/abi", "internal/failpoint", "internal/telemetry", "docs"}},
	{"docs", nil}, // the pages, for weir help

	{"sdk", nil},
	{"sdk/abi", nil},
	{"sdk/go", []string{"sdk/abi"}},
	{"sdk/go/weirtest", []string{"sdk/go", "sdk/abi"}},
	{"examples", []string{"sdk/go"}},

	{"internal/failpoint", nil},
	{"internal/telemetry", []string{"functions"}},
	{"internal/planted", nil},
	// These stand outside and look in; the rule on private packages below keeps everything else from leaning on them.
	{"internal", []string{"runtime/...", "deploy/...", "statestore/...", "router/...", "functions/...", "sdk/...", "internal/..."}},
}

// roles talk in wire messages also inside one process, so not even a test may join two of them; runtime/internal/sim and
// cmd/weir put them together.
var roles = []string{"runtime/jobmanager", "runtime/resourcemanager", "runtime/taskmanager"}

// private packages are programs of the repository: nothing imports them but themselves, and who names them in its row.
var private = []string{"cmd/...", "internal/e2e/...", "internal/bench/...", "internal/repo/...", "examples/..."}

func imports(t *Tree) []Breach {
	var found []Breach
	for _, f := range t.Files {
		if f.Go == nil {
			continue
		}
		for _, spec := range f.Go.Imports {
			target, ok := local(spec.Path.Value)
			if !ok {
				continue
			}
			if what := checkImport(f, target); what != "" {
				found = append(found, Breach{f.Path, f.Go.Line(spec.Pos()), what})
			}
		}
		if rowOf(f.Dir()) == nil {
			found = append(found, Breach{f.Path, f.Go.Line(f.Go.Package), fmt.Sprintf("%s has no row in the import table", f.Dir())})
		}
	}
	return found
}

// local gives the directory of an import of this module.
func local(quoted string) (string, bool) {
	full, err := strconv.Unquote(quoted)
	if err != nil {
		return "", false
	}
	if full == module {
		return ".", true
	}
	return strings.CutPrefix(full, module+"/")
}

func checkImport(f *File, target string) string {
	dir := f.Dir()
	own := rowOf(dir)
	switch {
	case own == nil:
		return "" // the missing row is the breach
	case isPrivate(dir, target) && !slices.Contains(own.allow, target):
		return fmt.Sprintf("%s imports %s, which nothing may import", dir, target)
	case own == rowOf(target):
		return ""
	case twoRoles(dir, target):
		return fmt.Sprintf("%s imports another role, %s: roles talk in wire messages", dir, target)
	case f.Go.Test || matchAny(own.allow, target):
		return ""
	}
	return fmt.Sprintf("%s may not import %s", dir, target)
}

func rowOf(dir string) *row {
	var best *row
	for i := range table {
		r := &table[i]
		if (dir == r.dir || strings.HasPrefix(dir, r.dir+"/")) && (best == nil || len(r.dir) > len(best.dir)) {
			best = r
		}
	}
	return best
}

// isPrivate says that target is private and dir does not stand in the same program.
func isPrivate(dir, target string) bool {
	for _, p := range private {
		if match(p, target) {
			return !sameProgram(dir, target)
		}
	}
	return false
}

// sameProgram compares the first two parts: cmd/weir, internal/e2e, examples/counter.
func sameProgram(a, b string) bool {
	first := func(dir string) []string { return strings.SplitN(dir, "/", 3)[:min(2, strings.Count(dir, "/")+1)] }
	return slices.Equal(first(a), first(b))
}

func twoRoles(dir, target string) bool {
	from := slices.IndexFunc(roles, func(r string) bool { return match(r+"/...", dir) })
	to := slices.IndexFunc(roles, func(r string) bool { return match(r+"/...", target) })
	return from >= 0 && to >= 0 && from != to
}

func matchAny(patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, dir) })
}

func match(pattern, dir string) bool {
	base, below := strings.CutSuffix(pattern, "/...")
	return dir == base || below && strings.HasPrefix(dir, base+"/")
}
