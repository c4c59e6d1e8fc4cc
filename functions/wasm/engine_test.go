package wasm_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/functions/wasm"
)

func open(t testing.TB, cfg wasm.Config) *wasm.Engine {
	t.Helper()
	e, err := wasm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

var errGone = errors.New("the module is gone")

func TestAPreparedModuleLoadsWithoutItsBytes(t *testing.T) {
	dir := t.TempDir()
	b := guest(t, "hostile")
	p, err := open(t, wasm.Config{CacheDir: dir}).Prepare(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	later := open(t, wasm.Config{CacheDir: dir})
	gone := func() ([]byte, error) { return nil, errGone }
	m, err := later.Load(t.Context(), p.Digest, gone, wasm.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := call(t, instance(t, m, nil), "ehello"); got != "ehello" {
		t.Errorf("it answered %q", got)
	}
	if _, err := later.Load(t.Context(), wasm.Digest(nil), gone, wasm.Limits{}); !errors.Is(err, errGone) {
		t.Errorf("a module that was never prepared: %v", err)
	}
}

func TestTheBytesMustHaveTheDigest(t *testing.T) {
	e := open(t, wasm.Config{CacheDir: t.TempDir()})
	other := func() ([]byte, error) { return []byte("something else"), nil }
	if _, err := e.Load(t.Context(), wasm.Digest(nil), other, wasm.Limits{}); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("got %v", err)
	}
	for _, digest := range []string{"", "sha256:", "sha256:../../etc/passwd", "md5:00", wasm.Digest(nil) + "0"} {
		if _, err := e.Load(t.Context(), digest, other, wasm.Limits{}); err == nil {
			t.Errorf("digest %q was taken", digest)
		}
	}
}

// files are all regular files below dir.
func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestADamagedCacheIsMadeAgain(t *testing.T) {
	b := guest(t, "hostile")
	for name, damage := range map[string]func(path string, content []byte) error{
		"a flipped bit": func(path string, c []byte) error {
			c[len(c)/2] ^= 1
			return os.WriteFile(path, c, 0o600)
		},
		"other places where functions begin": func(path string, c []byte) error { // wazero's checksum leaves them out
			for at := 32; at < 80; at++ {
				c[at] ^= 0x10
			}
			return os.WriteFile(path, c, 0o600)
		},
		"a truncated file": func(path string, c []byte) error { return os.WriteFile(path, c[:len(c)/2], 0o600) },
		"an empty file":    func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
		"a missing file":   func(path string, _ []byte) error { return os.Remove(path) },
	} {
		for _, kind := range []string{"prepared", "code"} {
			t.Run(name+" of "+kind, func(t *testing.T) {
				dir := t.TempDir()
				if _, err := open(t, wasm.Config{CacheDir: dir}).Prepare(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				found := files(t, filepath.Join(dir, kind))
				if len(found) != 1 {
					t.Fatalf("the cache holds %q", found)
				}
				content, err := os.ReadFile(found[0])
				if err != nil {
					t.Fatal(err)
				}
				if err := damage(found[0], content); err != nil {
					t.Fatal(err)
				}
				m := load(t, open(t, wasm.Config{CacheDir: dir}), b, wasm.Limits{})
				if got := call(t, instance(t, m, nil), "ehello"); got != "ehello" {
					t.Errorf("it answered %q", got)
				}
			})
		}
	}
}

func TestACacheThatOthersMayWriteIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"want 0700":       func(dir string) error { return os.Chmod(dir, 0o777) },
		"code has mode":   func(dir string) error { return errors.Join(os.Mkdir(dir+"/code", 0o700), os.Chmod(dir+"/code", 0o777)) },
		"belongs to user": func(dir string) error { return os.Chown(dir, 12345, -1) },
	} {
		dir := t.TempDir()
		if err := spoil(dir); err != nil {
			if errors.Is(err, fs.ErrPermission) { // only root gives a directory away
				continue
			}
			t.Fatal(err)
		}
		if _, err := wasm.New(wasm.Config{CacheDir: dir}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestNothingStaysBehindARefusedModule(t *testing.T) {
	dir := t.TempDir()
	e := open(t, wasm.Config{CacheDir: dir, CompileTimeout: 1})
	_, err := e.Prepare(t.Context(), guest(t, "hostile"))
	var r *wasm.Refusal
	if !errors.As(err, &r) || r.Code != wasm.CompileTimeout {
		t.Errorf("a compiler without time: %v", err)
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
}

func TestACompilerThatIsNoneIsAnErrorOfTheMachine(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"exit 0", "does not dispatch"},
		{"echo PASS", "does not dispatch"},
		{`echo '{"done":true}'`, "left 0 files"},
		{`echo '{"done":true}'; exit 1`, "exit status 1"},
		{`echo '{"err":"no room"}'; exit 1`, "no room"},
		{"echo out of luck; exit 3", "out of luck"},
		{"kill -9 $$", "killed"},
	} {
		e := open(t, wasm.Config{CacheDir: t.TempDir(), Compiler: []string{"/bin/sh", "-c", "cat >/dev/null; " + c.script}})
		if _, err := e.Prepare(t.Context(), guest(t, "hostile")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.script, err)
		}
	}
}

func TestACallerWhoLeavesStopsTheCompiler(t *testing.T) {
	e := open(t, wasm.Config{CacheDir: t.TempDir(), Compiler: []string{"/bin/sh", "-c", "cat >/dev/null; exec sleep 60"}, CompileTimeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := e.Prepare(ctx, guest(t, "hostile"))
	if r := new(wasm.Refusal); errors.As(err, &r) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTheCompilerChildRefusesWrongArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"dir"}, {"dir", "many"}, {"dir", "1", "2"}, {"dir", "1", "draft", "4"}} {
		var out strings.Builder
		if code := wasm.RunCompiler(args, strings.NewReader(""), &out); code == 0 || out.Len() == 0 {
			t.Errorf("%q: code %d, output %q", args, code, out.String())
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []wasm.Config{{}, {CacheDir: t.TempDir(), CompileMemory: 1 << 20}} {
		if _, err := wasm.New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
