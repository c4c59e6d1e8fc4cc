package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-run/weir/internal/bench/calls"
)

const (
	// callKeys is few enough that asking for every sum at the end takes seconds, and spreads calls over all key groups.
	callKeys = 1_000
	// callWarmPart is how much of a pass of calls warms a system up ahead of it: neither has a compiler that works as it goes.
	callWarmPart = 4
)

// callers is how many connections call: one shows the time of a call, 64 show what is done together.
var callers = []int{1, 64}

// callLineup is who answers calls, in the order of running; Weir before and behind, as in lineup.
var callLineup = []string{weirName, restateName, weirName}

// answering is a system that answers calls of a counter over HTTP.
type answering interface {
	prepare(ctx context.Context) (string, error) // as system has it
	// serve starts it in an empty directory and returns when a call would be answered. The caller stops it.
	serve(ctx context.Context, dir string, tasks int) (callee, error)
}

// callee is an answering system at work. It is used from one goroutine.
type callee interface {
	// url takes a POST of a number, adds it to a key's count, and answers the sum when both are durable.
	url(key string) string
	// pids are the process of the system and that of its function, where it has one of its own.
	pids() []int
	ended() error // as process has it
	stop() error
}

// callRow is what was found of a system that answers calls, durable and exactly once.
type callRow struct {
	System      string  `json:"system"`
	Version     string  `json:"version,omitempty"`
	Connections int     `json:"connections"`
	PerSecond   float64 `json:"callsPerSecond"`
	P50         float64 `json:"p50"` // ms
	P99         float64 `json:"p99"`
	SystemCPU   float64 `json:"systemMillis"`   // CPU of the system's process per call
	FunctionCPU float64 `json:"functionMillis"` // of its function's process, zero where that is the same
	OtherCores  float64 `json:"otherCores"`     // that the load and everything else used
	ResidentMB  float64 `json:"residentMB"`     // of both processes
	Calls       int64   `json:"calls"`          // that were measured
	Checked     int64   `json:"checked"`        // calls, warm-up included, that the sums of all keys were found equal to
	Failed      string  `json:"failed,omitempty"`
}

// call runs the chosen systems in turn, each on a quiet machine and with every number of connections. One that fails does not
// keep the others from running.
func (c *contest) call(ctx context.Context, chosen []string) error {
	var failed error
	for i, name := range chosen {
		rows, err := c.called(ctx, name, filepath.Join(c.dir, fmt.Sprintf("peers-%d-call", i)))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s, calls: %w", name, err))
			for _, connections := range callers[len(rows):] {
				rows = append(rows, callRow{System: name, Connections: connections, Failed: err.Error()})
			}
		}
		for _, r := range rows {
			r.Version = c.versions[name]
			c.callRows = append(c.callRows, r)
			fmt.Println(r.line())
		}
	}
	return failed
}

// called starts a system and calls it. It returns the rows that it has when something fails.
func (c *contest) called(ctx context.Context, name, dir string) (rows []callRow, err error) {
	if err := c.unfit[name]; err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make work directory: %w", err)
	}
	if err := quiet(ctx); err != nil {
		return nil, err
	}
	s, err := c.answer[name].serve(ctx, dir, c.tasks)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := s.stop(); e != nil {
			c.log.Warn("system did not stop", "system", name, "err", e)
		}
		c.log.Info("calls", "dir", dir, "system", name, "err", err)
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, "data")))
	}()
	for _, connections := range callers {
		r, err := c.callsOf(ctx, s, connections)
		if err != nil {
			return rows, errors.Join(fmt.Errorf("%d connections: %w", connections, err), s.ended())
		}
		r.System = name
		rows = append(rows, r)
	}
	return rows, nil
}

// callsOf warms up, measures one pass, and then asks for the sum of every key.
func (c *contest) callsOf(ctx context.Context, s callee, connections int) (callRow, error) {
	pass := time.Duration(c.seconds) * time.Second
	load := calls.New(fmt.Sprintf("c%d", connections), connections, callKeys, s.url)
	defer load.Close()
	if _, err := load.Run(ctx, pass/callWarmPart); err != nil {
		return callRow{}, err
	}
	before, err := metersOf(s.pids())
	if err != nil {
		return callRow{}, err
	}
	millis, err := load.Run(ctx, pass)
	if err != nil {
		return callRow{}, err
	}
	after, err := metersOf(s.pids())
	if err != nil {
		return callRow{}, err
	}
	if err := load.Verify(ctx); err != nil {
		return callRow{}, err
	}
	r := measured(before, after, millis)
	r.Connections, r.Checked = connections, load.Calls()
	return r, nil
}

func metersOf(pids []int) ([]reading, error) {
	var all []reading
	for _, pid := range pids {
		r, err := meters(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// measured is a pass between two readings of the same processes, with the sorted times of its calls, at least one.
func measured(before, after []reading, millis []float64) callRow {
	n, seconds := float64(len(millis)), after[0].at.Sub(before[0].at).Seconds()
	r := callRow{Calls: int64(len(millis)), PerSecond: n / seconds, P50: quantile(millis, 0.5), P99: quantile(millis, 0.99)}
	others := after[0].busy - before[0].busy
	for i := range after {
		cpu := after[i].cpu - before[i].cpu
		others -= cpu
		r.ResidentMB += after[i].resident / 1e6
		if i == 0 {
			r.SystemCPU = cpu * 1e3 / n
		} else {
			r.FunctionCPU += cpu * 1e3 / n
		}
	}
	r.OtherCores = others / seconds
	return r
}

// callFigures is the calls of a run as Markdown; nothing where none were asked for.
func (r report) callFigures() string {
	if len(r.Calls) == 0 {
		return ""
	}
	var d strings.Builder
	fmt.Fprintf(&d, "\nCalls over HTTP, durable and exactly-once, %d keys, a pass of %d s behind %d s that warm up. *x* is the mean of Weir's with as many connections over the row's for calls/s, and the row's over it for times and CPU.\n\n",
		callKeys, r.Seconds, r.Seconds/callWarmPart)
	d.WriteString("| system | connections | calls/s | x | p50 ms | x | p99 ms | x | CPU ms per call | of its function | both, x | others | MB | calls | checked | lost, doubled |\n" +
		"|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n")
	for _, row := range r.Calls {
		d.WriteString(row.cells(r.callBaseline(row.Connections)))
	}
	for _, row := range r.Calls {
		d.WriteString(failure(row.title(), row.Failed))
	}
	return d.String()
}

// callBaseline is the mean of Weir's rows with so many connections; zero where there is none.
func (r report) callBaseline(connections int) callRow {
	var b callRow
	found := 0.0
	for _, row := range r.Calls {
		if row.System == weirName && row.Connections == connections && row.Failed == "" {
			b.PerSecond, b.P50, b.P99, b.SystemCPU = b.PerSecond+row.PerSecond, b.P50+row.P50, b.P99+row.P99, b.SystemCPU+row.cpu()
			found++
		}
	}
	found = max(1, found)
	return callRow{PerSecond: b.PerSecond / found, P50: b.P50 / found, P99: b.P99 / found, SystemCPU: b.SystemCPU / found}
}

// cpu is that of both processes per call.
func (r callRow) cpu() float64 { return r.SystemCPU + r.FunctionCPU }

func (r callRow) cells(weir callRow) string {
	if r.Failed != "" {
		return fmt.Sprintf("| %s | %d | failed | | | | | | | | | | | | | |\n", r.name(), r.Connections)
	}
	function := "in it"
	if r.FunctionCPU > 0 {
		function = figure(r.FunctionCPU)
	}
	return fmt.Sprintf("| %s | %d | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %d | %d | 0, 0 |\n", r.name(), r.Connections,
		figure(r.PerSecond), ratio(weir.PerSecond, r.PerSecond), figure(r.P50), ratio(r.P50, weir.P50), figure(r.P99), ratio(r.P99, weir.P99),
		figure(r.SystemCPU), function, ratio(r.cpu(), weir.cpu()), figure(r.OtherCores), figure(r.ResidentMB), r.Calls, r.Checked)
}

func (r callRow) name() string { return strings.TrimSpace(r.System + " " + r.Version) }

func (r callRow) title() string {
	return fmt.Sprintf("%s, calls, connections: %d", r.name(), r.Connections)
}

// line tells a pass as soon as its system is done.
func (r callRow) line() string {
	if r.Failed != "" {
		return r.title() + ": failed: " + oneLine(r.Failed)
	}
	return fmt.Sprintf("%s: %s calls/s, p50 %s ms, p99 %s ms, %s ms CPU per call and %s of a function's process, %s others, %s MB, %d checked, lost 0, doubled 0",
		r.title(), figure(r.PerSecond), figure(r.P50), figure(r.P99), figure(r.SystemCPU), figure(r.FunctionCPU), figure(r.OtherCores), figure(r.ResidentMB), r.Checked)
}
