package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Config is what a server process is told. A key of the file is the name of the flag; its environment variable is
// WEIR_ and the name in capitals, with '_' for '-'. Flags win over the environment, and that over the file.
type Config struct {
	Listen         string `koanf:"listen"`          // control API, and /in forwarded
	DataPlane      string `koanf:"data-plane"`      // invocations
	InsecureListen bool   `koanf:"insecure-listen"` // allow addresses that others can reach
	Data           string `koanf:"data"`            // directory of modules, checkpoints and the log
	Kafka          string `koanf:"kafka"`           // broker of jobs that name none; in dev, where the embedded one listens
	Slots          int    `koanf:"slots"`           // tasks that this process runs at most
	LogLevel       string `koanf:"log-level"`
	LogFormat      string `koanf:"log-format"`

	Metrics    bool    `koanf:"metrics"`     // measure, and serve /metrics
	OTLP       string  `koanf:"otlp"`        // collector of metrics and traces; empty: none
	TraceRatio float64 `koanf:"trace-ratio"` // of what begins without a trace context
	PProf      string  `koanf:"pprof"`       // address of Go's profiles; empty: none

	access access // how the brokers of Kafka are reached
}

const (
	envPrefix = "WEIR_"
	// maxConfigBytes bounds the file: it has a dozen keys.
	maxConfigBytes = 64 << 10
	// maxSlots bounds one process: a task is a goroutine with its own WASM instances, and a thousand idle ones are small.
	maxSlots = 4096
	// defaultSlots runs a few jobs on any machine.
	defaultSlots = 64
)

// configFlags declares the flags of Config with their defaults.
func configFlags(data, kafka, kafkaUse string) *pflag.FlagSet {
	flags := pflag.NewFlagSet("config", pflag.ContinueOnError)
	flags.String("listen", "127.0.0.1:8088", "address of the control API")
	flags.String("data-plane", "127.0.0.1:8089", "address that takes invocations with the least overhead")
	flags.Bool("insecure-listen", false, "allow addresses that others can reach, although there is no authentication")
	flags.String("data", data, "directory of modules, checkpoints and state")
	flags.String("kafka", kafka, kafkaUse)
	flags.Int("slots", defaultSlots, "tasks that this process runs at most")
	flags.String("log-level", "info", "debug, info, warn or error")
	flags.String("log-format", "text", "text or json")
	flags.Bool("metrics", true, "measure, and serve the figures at /metrics of the control API")
	flags.String("otlp", "", "URL of an OpenTelemetry collector (OTLP over HTTP) that takes metrics and traces")
	flags.Float64("trace-ratio", 0, "part of the records, requests and checkpoints without a trace context that begin a trace, 0 to 1")
	flags.String("pprof", "", "address of this machine that serves Go's profiles")
	return flags
}

// settings is a Config with what it came from.
type settings struct {
	Config
	ignored []string // environment variables with our prefix that nothing reads
}

// loadConfig merges the file (unless its name is empty), the environment and the flags. References in values stay as they
// are written until resolve: what they stand for may be a secret.
func (s *shell) loadConfig(file string, flags *pflag.FlagSet) (*settings, error) {
	known := func(key string) bool { return flags.Lookup(key) != nil }
	set, merged := &settings{}, koanf.New(".")
	var wrong error // the first variable that cannot be read
	if file != "" {
		if err := s.loadConfigFile(merged, file, flags); err != nil {
			return nil, err
		}
	}
	environment := env.Provider(".", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return s.environ },
		TransformFunc: func(name, value string) (string, any) {
			key := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, envPrefix)), "_", "-")
			if known(key) {
				if want, ok := parses(flags.Lookup(key), value); !ok && wrong == nil && !flags.Changed(key) {
					wrong = failed(fmt.Sprintf("configuration: environment variable %s is %q; want %s", name, value, want))
				}
				return key, fromEnvironment(key, value)
			}
			if !slices.Contains([]string{"server", "config", "failpoint"}, key) {
				set.ignored = append(set.ignored, name)
			}
			return "", nil
		},
	})
	if err := merged.Load(environment, nil); err != nil {
		return nil, fmt.Errorf("read environment: %w", err)
	}
	if wrong != nil {
		return nil, wrong
	}
	if err := merged.Load(posflag.Provider(flags, ".", merged), nil); err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	if err := merged.UnmarshalWithConf("", &set.Config, koanf.UnmarshalConf{}); err != nil {
		reason := strings.Join(strings.Fields(err.Error()), " ")
		return nil, failed("configuration: "+reason, "see weir server --help for keys and their types")
	}
	var err error
	if set.access, err = accessOf(merged.String); err != nil {
		return nil, err
	}
	return set, set.check()
}

func (s *shell) loadConfigFile(into *koanf.Koanf, file string, flags *pflag.FlagSet) error {
	if !filepath.IsAbs(file) {
		file = filepath.Join(s.dir, file)
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return fmt.Errorf("read configuration %s: %w", file, err)
	}
	if len(text) > maxConfigBytes {
		return failed(fmt.Sprintf("%s is larger than %d bytes", file, maxConfigBytes), "is it the right file?")
	}
	return into.Load(rawbytes.Provider(text), strictYAML{file: filepath.Base(file), flags: flags})
}

// resolve replaces ${env:NAME} and ${file:PATH}, and makes the data directory absolute.
func (s *shell) resolve(set *settings) error {
	for _, field := range []*string{&set.Listen, &set.DataPlane, &set.Data, &set.Kafka, &set.OTLP, &set.PProf} {
		value, err := s.secret(*field)
		if err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
		*field = value
	}
	set.Data = s.path(set.Data)
	return nil
}

func (set *settings) check() error {
	if set.Data == "" {
		return failed("configuration: data is empty", "name a directory with --data")
	}
	if set.Slots < 1 || set.Slots > maxSlots {
		return failed(fmt.Sprintf("configuration: slots is %d; want 1 to %d", set.Slots, maxSlots))
	}
	if _, err := set.level(); err != nil {
		return err
	}
	if set.LogFormat != "text" && set.LogFormat != "json" {
		return failed(fmt.Sprintf("configuration: log-format is %q; want text or json", set.LogFormat))
	}
	return set.checkTelemetry()
}

// values are the keys as they are printed.
func (c *Config) values() map[string]any {
	values := map[string]any{
		"listen": c.Listen, "data-plane": c.DataPlane, "insecure-listen": c.InsecureListen, "data": c.Data,
		"kafka": c.Kafka, "slots": c.Slots, "log-level": c.LogLevel, "log-format": c.LogFormat,
		"metrics": c.Metrics, "otlp": c.OTLP, "trace-ratio": c.TraceRatio, "pprof": c.PProf,
	}
	c.access.addTo(values)
	return values
}

func (set *settings) level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(set.LogLevel)); err != nil {
		return 0, failed(fmt.Sprintf("configuration: log-level is %q; want debug, info, warn or error", set.LogLevel))
	}
	return level, nil
}

// logger writes where the configuration says.
func (set *settings) logger(w io.Writer) *slog.Logger {
	level, err := set.level()
	if err != nil {
		panic(fmt.Sprintf("weir: unchecked log level %q", set.LogLevel)) // check has accepted it
	}
	options := &slog.HandlerOptions{Level: level}
	if set.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// strictYAML is a koanf.Parser that refuses keys which are no flags, with their place.
type strictYAML struct {
	file  string
	flags *pflag.FlagSet
}

// Unmarshal reads one document of plain keys.
func (p strictYAML) Unmarshal(text []byte) (map[string]any, error) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, p.syntax(err)
	}
	if len(file.Docs) > 1 {
		return nil, failed(p.file+": more than one document", "remove the lines ---")
	}
	for _, document := range file.Docs {
		mapping, ok := document.Body.(*ast.MappingNode)
		if !ok {
			continue
		}
		for _, entry := range mapping.Values {
			key := entry.Key.GetToken()
			known := p.flags.Lookup(key.Value)
			if known == nil {
				return nil, p.unknown(key.Value, key.Position.Line, key.Position.Column)
			}
			if want, ok := p.typed(known, entry.Value); !ok {
				where := entry.Value.GetToken().Position
				return nil, failed(fmt.Sprintf("%s:%d:%d: %s: want %s", p.file, where.Line, where.Column, key.Value, want))
			}
		}
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, p.syntax(err)
	}
	return values, nil
}

// Marshal writes what Unmarshal reads.
func (p strictYAML) Marshal(values map[string]any) ([]byte, error) { return yaml.Marshal(values) }

// typed says whether a value has the type of its flag, and names that type.
func (p strictYAML) typed(flag *pflag.Flag, value ast.Node) (want string, ok bool) {
	switch flag.Value.Type() {
	case "bool":
		return "true or false", value.Type() == ast.BoolType
	case "float64":
		return "a number", value.Type() == ast.FloatType || value.Type() == ast.IntegerType
	case "int":
		return "a whole number", value.Type() == ast.IntegerType
	}
	return "text", value.Type() == ast.StringType
}

// parses says whether text has the type of a flag, and names that type. An empty variable is one that is not set.
func parses(flag *pflag.Flag, text string) (want string, ok bool) {
	var err error
	switch flag.Value.Type() {
	case "bool":
		want = "true or false"
		_, err = strconv.ParseBool(text)
	case "float64":
		want = "a number"
		_, err = strconv.ParseFloat(text, 64)
	case "int":
		want = "a whole number"
		_, err = strconv.ParseInt(text, 0, 0)
	}
	return want, err == nil || text == ""
}

func (p strictYAML) unknown(key string, line, column int) error {
	var known []string
	p.flags.VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	return failed(fmt.Sprintf("%s:%d:%d: unknown key %q", p.file, line, column, key), "known: "+strings.Join(known, ", "))
}

func (p strictYAML) syntax(err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		where := at.GetToken().Position
		return failed(fmt.Sprintf("%s:%d:%d: %s", p.file, where.Line, where.Column, at.GetMessage()))
	}
	return failed(fmt.Sprintf("%s: %v", p.file, err))
}
