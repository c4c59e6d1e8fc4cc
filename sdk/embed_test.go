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

var total = weir.Bytes("total")

func init() {
	weir.Handle("t/echo", func(c *weir.Call, b []byte) error {
		total.Set(c, append(total.Get(c), b...))
		return c.ReplyBytes(total.Get(c))
	})
}

func main() {}
`

func TestAGuestBuildsOfflineFromACopyOfTheSource(t *testing.T) {
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
	for _, export := range []string{"memory", "_initialize", "weir_abi", "weir_describe", "weir_in", "weir_out", "weir_batch"} {
		if !bytes.Contains(module, append([]byte{byte(len(export))}, export...)) {
			t.Errorf("the module has no export %s", export)
		}
	}
}
