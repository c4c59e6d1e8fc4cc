package sdk_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-run/weir/sdk"
)

func TestTheSourceIsEveryFileOfTheSDKWithoutTests(t *testing.T) {
	files := func(from fs.FS) []string {
		var names []string
		for _, dir := range []string{"abi", "go", "go/weirtest"} {
			found, err := fs.Glob(from, dir+"/*.[gs]*") // .go and .s
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range found {
				if !strings.HasSuffix(name, "_test.go") {
					names = append(names, name)
				}
			}
		}
		return names
	}
	if have, want := files(sdk.Source()), files(os.DirFS(".")); !slices.Equal(have, want) {
		t.Errorf("embedded %v, want %v", have, want)
	}
}

const guest = `package main

import weir "github.com/weir-run/weir/sdk/go"

var total, count = weir.Bytes("total"), weir.Int64("count")

func init() {
	weir.Handle("t/echo", func(c *weir.Call, b []byte) error {
		total.Set(c, append(total.Get(c), b...))
		return c.ReplyBytes(total.Get(c))
	})
	weir.Handle("t/count", func(c *weir.Call, n int64) error {
		count.Set(c, count.Get(c)+n)
		c.Egress("counts").PutString(c.Key(), c.Now().String())
		return c.Reply(count.Get(c))
	})
	weir.Handle("t/text", func(c *weir.Call, s string) error { return c.ReplyString(s) })
}

func main() {}
`

const guestOfJSON = `package main

import weir "github.com/weir-run/weir/sdk/go"

func init() {
	weir.Handle("t/json", func(c *weir.Call, v struct{ N int }) error { return c.Reply(int64(v.N)) })
}

func main() {}
`

func TestAGuestBuildsOfflineFromACopyOfTheSource(t *testing.T) {
	module := buildGuest(t, guest)
	for _, export := range []string{"memory", "_initialize", "weir_abi", "weir_describe", "weir_in", "weir_out", "weir_batch"} {
		if !bytes.Contains(module, append([]byte{byte(len(export))}, export...)) {
			t.Errorf("the module has no export %s", export)
		}
	}
}

// Half of a module is package json where a message needs it. Handle leaves it out by what the compiler inlines and folds.
func TestOnlyAGuestOfJSONCarriesPackageJSON(t *testing.T) {
	for _, c := range []struct {
		name, source string
		want         bool
	}{{"bytes, numbers and text", guest, false}, {"JSON", guestOfJSON, true}} {
		module := buildGuest(t, c.source)
		if got := bytes.Contains(module, []byte("encoding_json.Unmarshal")); got != c.want {
			t.Errorf("a guest of %s, %d bytes: json.Unmarshal is in it: %v, want %v", c.name, len(module), got, c.want)
		}
	}
}

// buildGuest builds a module from its source and a copy of the SDK's.
func buildGuest(t *testing.T, guest string) []byte {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, text []byte) {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := fs.WalkDir(sdk.Source(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(sdk.Source(), name)
		write(path.Join("weir-sdk/sdk", name), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	write("weir-sdk/go.mod", []byte(sdk.GoMod))
	write("main.go", []byte(guest))
	write("go.mod", []byte("module guest\n\ngo 1.26.0\n\nrequire github.com/weir-run/weir v0.0.0\n\nreplace github.com/weir-run/weir => ./weir-sdk\n"))
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", "guest.wasm", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOPROXY=off", "GOMODCACHE="+t.TempDir(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	module, err := os.ReadFile(filepath.Join(dir, "guest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return module
}
