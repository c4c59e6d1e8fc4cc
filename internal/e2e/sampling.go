package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weir-run/weir/internal/e2e/growth"
)

const (
	// sampleEvery is the time between two samples of a long run; a short one has leastSamples all the same.
	sampleEvery  = 10 * time.Second
	leastSamples = 60
	// restSamples is how many samples fit between two blows, in peace.
	restSamples = 2
	// sampleLimit is how long a server may take to tell its metrics; one that is stopped or killed tells none.
	sampleLimit = 2 * time.Second
	// maxMetricsBytes bounds the page of metrics.
	maxMetricsBytes = 4 << 20
)

func (w *world) sampleEvery() time.Duration { return min(sampleEvery, w.soak/leastSamples) }

// sample samples the server until settled is closed, and fails when nothing comes through for soakStall.
func (w *world) sample(ctx context.Context, begun time.Time, a *audit, s *soaked, settled <-chan struct{}) error {
	tick := time.NewTicker(w.sampleEvery())
	defer tick.Stop()
	last, since := totals{}, time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-settled:
			return nil
		case <-tick.C:
		}
		life := s.life.Load()
		steady := w.steady(a, s)
		seen, _ := a.progress()
		if seen != last {
			last, since = seen, time.Now()
		}
		if time.Since(since) > soakStall {
			return fmt.Errorf("nothing came through for %v, and %d inputs and requests wait", soakStall, s.backlog(a))
		}
		metrics, err := w.metrics(ctx)
		if err != nil || life != s.life.Load() {
			continue // the server is down, stopped, or another one: a later sample tells of it
		}
		disk, err := bytesUnder(filepath.Join(w.dir, dataDir))
		if err != nil {
			return err
		}
		s.samples = append(s.samples, growth.Sample{
			At: time.Since(begun), Life: 1 + int(life), Steady: steady,
			Memory: metrics["process_memory_usage_bytes"], Goroutines: metrics["go_goroutine_count"], Files: metrics["process_unix_file_descriptor_count"],
			Disk: disk, Inputs: seen.inputs, Outputs: seen.outputs, Backlog: s.backlog(a),
		})
	}
}

// metrics are the server's own, by the name that Prometheus reads; of several series of a name the sum.
func (w *world) metrics(ctx context.Context) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.URL+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close() // it was only read
	text, err := io.ReadAll(io.LimitReader(response.Body, maxMetricsBytes))
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics: %s: %w", response.Status, err)
	}
	return parseMetrics(text), nil
}

// parseMetrics reads Prometheus's text: a name, perhaps labels, a number.
func parseMetrics(text []byte) map[string]int64 {
	values := map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		name, _, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err == nil && !strings.HasPrefix(line, "#") {
			values[name] += int64(value)
		}
	}
	return values
}

// bytesUnder is the size of all files in a folder that others write to meanwhile.
func bytesUnder(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				total += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was deleted while we looked
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("measure the data directory: %w", err)
	}
	return total, nil
}
