package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-run/weir/functions"
)

// documentName is the file that describes a job.
const documentName = "module.yaml"

// plan is what is to be deployed: a module.yaml, or a lone module whose own description makes the job.
type plan struct {
	folder   string
	document string         // path of module.yaml; empty for a lone module
	job      *functions.Job // nil for a lone module, until it is described
	modules  []planned
}

// planned is one module of a plan.
type planned struct {
	file    string // absolute
	command string // of module.yaml; empty: the Go compiler
	source  bool   // it is built before it is deployed
}

// name is the module's file name for people.
func (p *planned) name() string { return filepath.Base(p.file) }

// planFor reads what a path holds: a folder with module.yaml or main.go, a module.yaml, or a module.
func (s *shell) planFor(path string) (*plan, error) {
	stat, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failed("there is no "+s.shown(path), "name the folder of a function, a module.yaml, or a .wasm file; weir new NAME makes one")
	}
	if err != nil {
		return nil, fmt.Errorf("deploy: %w", err)
	}
	switch {
	case stat.IsDir():
		document := filepath.Join(path, documentName)
		if _, err := os.Stat(document); err == nil {
			return s.planDocument(document)
		}
		return planFolder(path)
	case strings.HasSuffix(path, ".wasm"):
		return &plan{folder: filepath.Dir(path), modules: []planned{{file: path}}}, nil
	}
	return s.planDocument(path)
}

// holdsFunction refuses a path where there is nothing to run. What is wrong within the files can be mended later.
func (s *shell) holdsFunction(path string) error {
	stat, err := os.Stat(path)
	switch {
	case err != nil:
		_, err = s.planFor(path)
		return err
	case !stat.IsDir():
		return failed(s.shown(path)+" is no folder", "name the folder that holds "+documentName+" or main.go; weir deploy takes a lone file")
	}
	if _, err := os.Stat(filepath.Join(path, documentName)); err == nil {
		return nil
	}
	_, err = planFolder(path)
	return err
}

// planFolder is a folder without module.yaml: source whose module describes itself.
func planFolder(folder string) (*plan, error) {
	if _, err := os.Stat(filepath.Join(folder, "main.go")); errors.Is(err, fs.ErrNotExist) {
		return nil, failed(fmt.Sprintf("%s holds neither %s nor main.go", folder, documentName),
			"name the folder of a function, or a .wasm file; weir new NAME makes one")
	}
	file := filepath.Join(folder, filepath.Base(folder)+".wasm")
	return &plan{folder: folder, modules: []planned{{file: file, source: true}}}, nil
}

func (s *shell) planDocument(document string) (*plan, error) {
	source, err := os.ReadFile(document)
	if err != nil {
		return nil, fmt.Errorf("deploy: %w", err)
	}
	folder := filepath.Dir(document)
	job, err := functions.ParseJob(source, s.shown(document), functions.FromHost(folder))
	if err != nil {
		return nil, err
	}
	p := &plan{folder: folder, document: document, job: job}
	for _, m := range job.Modules {
		file := m.File
		if !filepath.IsAbs(file) {
			file = filepath.Join(folder, file)
		}
		_, err := os.Stat(filepath.Join(filepath.Dir(file), "main.go"))
		p.modules = append(p.modules, planned{file: file, command: m.Build, source: m.Build != "" || err == nil})
	}
	return p, nil
}

// shown is a path as the user would write it.
func (s *shell) shown(path string) string {
	relative, err := filepath.Rel(s.dir, path)
	if err != nil || strings.HasPrefix(relative, "..") {
		return path
	}
	return relative
}

// build compiles what has source. Several modules are compiled one after the other: the compiler uses all cores.
func (p *plan) build(ctx context.Context, s *shell) ([]built, error) {
	var all []built
	for i := range p.modules {
		m := &p.modules[i]
		if !m.source {
			continue
		}
		folder := p.folder
		if m.command == "" {
			folder = filepath.Dir(m.file)
		}
		b, err := s.compile(ctx, folder, m.file, m.command)
		if err != nil {
			return all, err
		}
		all = append(all, b)
	}
	return all, nil
}

// read returns the bytes of a module and their digest.
func (p *planned) read() (module []byte, digest string, err error) {
	module, err = os.ReadFile(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", failed("there is no "+p.file, "build it, or put main.go beside it: weir deploy then builds it")
	}
	if err != nil {
		return nil, "", fmt.Errorf("read module: %w", err)
	}
	sum := sha256.Sum256(module)
	return module, "sha256:" + hex.EncodeToString(sum[:]), nil
}

// jobName is the name of a job that no document names: that of its module's file.
func (p *plan) jobName() string { return strings.TrimSuffix(p.modules[0].name(), ".wasm") }

// describe binds the job to what its modules say of themselves. cluster is where a lone module's topics are.
func (p *plan) describe(digests []string, descriptions []*functions.Description, cluster string) (*functions.Job, error) {
	job := p.job
	if job == nil {
		var err error
		if job, err = functions.FromDescription(p.jobName(), descriptions[0], cluster); err != nil {
			return nil, err
		}
		job.Modules[0].File = p.modules[0].name()
	}
	for i := range job.Modules {
		job.Modules[i].Digest = digests[i]
	}
	return job, job.Bind(slices.Clone(descriptions))
}
