package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// sources is where the peers' programs are, from the root of the repository.
	sources = "bench/peers"
	// heap is enough for a million keys and for whatever a record leaves behind under full load.
	heap = "3g"
	// tailBytes of a log say why a program ended.
	tailBytes = 2000
)

// flinkOptions open what the serializers and the memory of Flink, and of StateFun on it, look into, as their own scripts do.
var flinkOptions = []string{
	"-XX:MaxDirectMemorySize=1g",
	"--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED",
	"--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
	"--add-opens=java.base/java.util.concurrent=ALL-UNNAMED", "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
	"--add-opens=java.base/java.net=ALL-UNNAMED", "--add-opens=java.base/java.io=ALL-UNNAMED",
	"--add-opens=java.base/java.lang.reflect=ALL-UNNAMED", "--add-opens=java.base/java.text=ALL-UNNAMED",
	"--add-opens=java.base/java.time=ALL-UNNAMED", "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
}

// javaSystem is a peer in one JVM: the class KeyedCounter in bench/peers/<name>, with the libraries that pom.xml beside it
// names. Maven brings those once; they are kept for each text of pom.xml. That folder is on the class path, for META-INF.
type javaSystem struct {
	name    string
	library string // the jar whose version is the system's
	cache   string // of libraries, shared by all runs of a machine
	dir     string
	options []string // of the JVM

	jars, classes string
}

func (j *javaSystem) prepare(ctx context.Context) (string, error) {
	source := filepath.Join(sources, j.name)
	if err := j.fetch(ctx, filepath.Join(source, "pom.xml")); err != nil {
		return "", fmt.Errorf("fetch %s: %w", j.name, err)
	}
	j.classes = filepath.Join(j.dir, j.name+"-classes")
	compile := exec.CommandContext(ctx, "javac", "-cp", filepath.Join(j.jars, "*"), "-d", j.classes, filepath.Join(source, "KeyedCounter.java"))
	if out, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s, which needs JDK 17: %w: %s", j.name, err, out)
	}
	return j.version()
}

// fetch brings the libraries into the cache, whole or not at all.
func (j *javaSystem) fetch(ctx context.Context, pom string) error {
	text, err := os.ReadFile(pom)
	if err != nil {
		return fmt.Errorf("%w; run from the root of the repository", err)
	}
	j.jars = filepath.Join(j.cache, fmt.Sprintf("%s-%x", j.name, sha256.Sum256(text))[:len(j.name)+1+16])
	if _, err := os.Stat(j.jars); err == nil {
		return nil
	}
	if err := os.MkdirAll(j.cache, 0o755); err != nil {
		return err
	}
	half, err := os.MkdirTemp(j.cache, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(half) // what is left of it does no harm
	maven := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime",
		"-DoutputDirectory="+filepath.Join(half, "jars"))
	if out, err := maven.CombinedOutput(); err != nil {
		return fmt.Errorf("maven: %w: %s", err, out)
	}
	return os.Rename(filepath.Join(half, "jars"), j.jars)
}

func (j *javaSystem) version() (string, error) {
	found, err := filepath.Glob(filepath.Join(j.jars, j.library+"-[0-9]*.jar"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("find %s in %s: %d jars, %v", j.library, j.jars, len(found), err)
	}
	version := strings.TrimPrefix(filepath.Base(found[0]), j.library+"-")
	return strings.TrimSuffix(version, ".jar"), nil
}

func (j *javaSystem) start(_ context.Context, a assignment) (process, error) {
	args := append([]string{"-Xms" + heap, "-Xmx" + heap, "-XX:+UseG1GC"}, j.options...)
	args = append(args, "-Dlog4j2.configurationFile="+filepath.Join(sources, "log4j2.properties"),
		"-cp", strings.Join([]string{j.classes, filepath.Join(sources, j.name), filepath.Join(j.jars, "*")}, string(os.PathListSeparator)), "KeyedCounter",
		"brokers="+a.brokers, "in="+a.in, "out="+a.out, "id="+a.id, "dir="+filepath.Join(a.dir, "state"),
		"delivery="+a.Delivery, "interval="+a.Interval, "tasks="+strconv.Itoa(a.tasks))
	return launch(exec.Command("java", args...), filepath.Join(a.dir, "log"))
}

// program is a peer that ends when its input does, hence also when this process is killed.
type program struct {
	cmd   *exec.Cmd
	input io.Closer
	log   *os.File
	gone  chan error
}

func launch(cmd *exec.Cmd, log string) (*program, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	cmd.Stdout, cmd.Stderr = file, file
	input, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", cmd.Path, err), file.Close())
	}
	p := &program{cmd, input, file, make(chan error, 1)}
	go func() { p.gone <- cmd.Wait() }() // ends with the process, which stop ends
	return p, nil
}

func (p *program) pid() int { return p.cmd.Process.Pid }

func (p *program) ended() error {
	select {
	case err := <-p.gone:
		p.gone <- err
		return fmt.Errorf("the program ended by itself (%v): %s", p.cmd.ProcessState, p.tail())
	default:
		return nil
	}
}

// tail is the end of the log, without the line that the cut tore.
func (p *program) tail() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	if len(text) > tailBytes {
		text = text[len(text)-tailBytes:]
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return strings.TrimSpace(string(text))
}

func (p *program) stop() error {
	closed := p.input.Close()
	if errors.Is(closed, os.ErrClosed) {
		closed = nil // Wait has closed it
	}
	select {
	case err := <-p.gone:
		p.gone <- err
		return errors.Join(closed, p.log.Close())
	case <-time.After(stopLimit):
	}
	err := p.cmd.Process.Kill()
	p.gone <- <-p.gone
	return errors.Join(fmt.Errorf("%s did not end within %v", p.cmd.Path, stopLimit), err, closed, p.log.Close())
}
