package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-run/weir/deploy/deploytest"
)

const devDocument = `kind: weir.v1/job
spec: {name: counter}
---
kind: weir.v1/module
spec: {file: counter.wasm, build: "cp source.txt counter.wasm"}
---
kind: io.statefun.kafka.v1/ingress
spec: {id: clicks, address: embedded, consumerGroupId: counter, topics: [{topic: clicks, targets: [example/counter], create: true}]}
---
kind: io.statefun.kafka.v1/egress
spec: {id: counts, address: embedded, create: true}
`

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// devIn starts weir dev on free ports in a folder.
func devIn(t *testing.T, dir string) *running {
	t.Helper()
	s := shellIn(dir, wireFake(t, &deploytest.Controller{}, untilDone))
	return begin(t, s, "stdout", "dev", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0", "--kafka", "127.0.0.1:0")
}

func TestDevDeploysTheFolderAndReloadsItWhenItIsSaved(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "module.yaml", devDocument)
	write(t, dir, "source.txt", "\x00asm counter 1")
	dev := devIn(t, dir)
	dev.until(t, `^  weir +\S+ +dev mode: one process, data in \.weir, not for production$`)
	dev.until(t, `^  api +http://127\.0\.0\.1:\d+ +kafka +127\.0\.0\.1:\d+ \(embedded\)$`)
	dev.until(t, `^  built +counter\.wasm  14 B in .*; ready .* later$`)
	dev.until(t, `^  deployed  job counter: example/counter <- topic clicks, http   -> topic counts$`)
	write(t, dir, "source.txt", "\x00asm counter 2")
	dev.until(t, `^  reloaded  example/counter in .*, state kept$`)
	if code := dev.end(); code != exitDone {
		t.Errorf("exit %d: %s", code, dev.stderr)
	}
}

func TestDevWaitsForARepairWhenTheFunctionIsBroken(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "module.yaml", strings.Replace(devDocument, "name: counter", "nmae: counter", 1))
	write(t, dir, "source.txt", "\x00asm bad")
	dev := devIn(t, dir)
	dev.until(t, `^  api`)
	dev.until(t, `^  broken`)
	write(t, dir, "module.yaml", devDocument)
	dev.until(t, `^  broken`)
	write(t, dir, "source.txt", "\x00asm good")
	dev.until(t, `^  deployed`)
	if code := dev.end(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{`module.yaml:2:`, `unknown field "nmae"`, "export weir_batch is missing"} {
		if !strings.Contains(dev.stderr.String(), want) {
			t.Errorf("%q was not told: %s", want, dev.stderr)
		}
	}
}
