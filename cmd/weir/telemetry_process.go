package main

import (
	"os"
	"runtime/metrics"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sys/unix"

	"github.com/weir-run/weir/internal/telemetry"
)

const (
	cpuModeKey = attribute.Key("cpu.mode")
	semantic   = "OpenTelemetry's conventions for processes"
	semanticGo = "OpenTelemetry's conventions for Go"
)

// processMetrics are those of the process as a whole.
func processMetrics() []telemetry.Metric {
	return []telemetry.Metric{
		{Name: "process.memory.usage", Kind: telemetry.Gauge, Unit: "By", Help: "Memory of the process that is in RAM (Linux).", Known: semantic},
		{Name: "process.cpu.time", Kind: telemetry.Counter, Unit: "s", Help: "CPU time of the process.", Attributes: []string{string(cpuModeKey)}, Known: semantic},
		{Name: "process.unix.file_descriptor.count", Kind: telemetry.Gauge, Unit: "{file_descriptor}", Help: "Open files and sockets.", Known: semantic},
		{Name: "go.goroutine.count", Kind: telemetry.Gauge, Unit: "{goroutine}", Help: "Goroutines.", Known: semanticGo},
		{Name: "go.memory.used", Kind: telemetry.Gauge, Unit: "By", Help: "Memory that the Go runtime holds; state and guests are outside of it.", Known: semanticGo},
		{Name: "go.memory.allocated", Kind: telemetry.Counter, Unit: "By", Help: "Bytes allocated on the Go heap.", Known: semanticGo},
	}
}

// observeProcess tells the numbers of this process whenever metrics are collected.
func observeProcess(meter metric.Meter) {
	set := telemetry.NewSet(meter, processMetrics())
	resident, files, goroutines, held := set.Gauge("process.memory.usage"), set.Gauge("process.unix.file_descriptor.count"),
		set.Gauge("go.goroutine.count"), set.Gauge("go.memory.used")
	cpu, allocated := set.Sum("process.cpu.time"), set.Count("go.memory.allocated")
	set.Observe(func(o metric.Observer) {
		samples := []metrics.Sample{
			{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
			{Name: "/gc/heap/allocs:bytes"},
		}
		metrics.Read(samples)
		o.ObserveFloat64(goroutines, float64(samples[0].Value.Uint64()))
		o.ObserveFloat64(held, float64(samples[1].Value.Uint64()-samples[2].Value.Uint64()))
		o.ObserveInt64(allocated, int64(samples[3].Value.Uint64()))
		if bytes, ok := residentBytes(); ok {
			o.ObserveFloat64(resident, bytes)
		}
		if open, err := os.ReadDir("/dev/fd"); err == nil {
			o.ObserveFloat64(files, float64(len(open)-1)) // one of them reads the list
		}
		var usage unix.Rusage
		if unix.Getrusage(unix.RUSAGE_SELF, &usage) == nil {
			o.ObserveFloat64(cpu, float64(usage.Utime.Nano())/1e9, metric.WithAttributes(cpuModeKey.String("user")))
			o.ObserveFloat64(cpu, float64(usage.Stime.Nano())/1e9, metric.WithAttributes(cpuModeKey.String("system")))
		}
	})
}

// residentBytes reads what Linux says of this process; elsewhere ok is false.
func residentBytes() (bytes float64, ok bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize()), err == nil
}
