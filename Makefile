# Every target works from a fresh clone with Go and make alone; e2e also needs a JDK, Maven and kcat.

SHELL   := /bin/sh
VERSION ?= $(shell git describe --tags --match 'v*' 2>/dev/null | sed 's/^v//' | grep . || echo 0.1.0)
TOOL     = GOFLAGS= go tool -modfile=tools/go.mod

FUZZTIME    ?= 20s
FROM        ?= 1
SEEDS       ?= 5000
SCENARIOS   ?= 1000
SEED        ?=
WORKLOAD    ?= 0
E2EFLAGS    ?=
BENCHFLAGS  ?=
PEERFLAGS   ?=
RACETIMEOUT ?= 10m
DURATION    ?= 1h
SOAKFLAGS   ?=
LISTEN      ?= 127.0.0.1:8088
DATA_PLANE  ?= 127.0.0.1:8089
KAFKA       ?= 127.0.0.1:9092

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/weir
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/weir ./cmd/weir

.PHONY: run
run: build ## the 60-second tour: start weir dev, deploy the counter, send it events; LISTEN=, DATA_PLANE=, KAFKA=host:port for other ports
	@LISTEN=$(LISTEN) DATA_PLANE=$(DATA_PLANE) KAFKA=$(KAFKA) sh tools/tour.sh

.PHONY: test
test: ## every test that needs no server
	go test ./...

.PHONY: check
check: vet staticcheck rules ## vet, staticcheck, gofmt and the rules of the repository

.PHONY: vet staticcheck rules
vet:
	go vet ./...
	go vet -tags e2e,docs,failpoint,planted ./...
	GOOS=wasip1 GOARCH=wasm go vet ./sdk/go ./examples/...
staticcheck:
	$(TOOL) staticcheck -tags e2e,docs,failpoint,planted ./...
rules:
	go test -count=1 ./internal/repo

.PHONY: race
race: ## the same tests under the race detector
	go test -race -timeout $(RACETIMEOUT) ./...

.PHONY: e2e
e2e: build ## exactly-once under kill -9 against a real Apache Kafka (fetched with Maven); E2EFLAGS='-kafka 3.9.1'
	sh tools/e2e.sh $(E2EFLAGS)

.PHONY: soak
soak: ## the workload of e2e for DURATION=1h with kills, stops and deployments; nothing may grow; writes bench/soak.md
	go run ./internal/e2e -soak $(DURATION) -rate 300 $(SOAKFLAGS)

.PHONY: docs
docs: build ## run every command of the README and of docs, and compare what it prints
	go test -count=1 -tags docs -timeout 15m ./internal/repo/transcript

.PHONY: metrics
metrics: ## write docs/metrics.md from the declarations in the code; `make test` compares it
	go test -count=1 ./cmd/weir -run TestTheMetricsPageIsTrue -rewrite

.PHONY: guests
guests: ## compile the guest in C anew, with clang and lld, for whoever changes it
	cd internal/bench/guest/c && clang --target=wasm32 -O2 -mbulk-memory -nostdlib -Wl,--no-entry -Wl,--strip-all \
		-Wl,-z,stack-size=8192 -o count.wasm count.c && chmod 644 count.wasm

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME=20s
	FUZZTIME=$(FUZZTIME) sh tools/fuzz.sh

.PHONY: sim
sim: ## SEEDS=5000 simulated runs with crashes and faults, SCENARIOS=1000 over kfake, planted bugs; SEED=n replays one
	@FROM=$(FROM) SEEDS=$(SEEDS) SCENARIOS=$(SCENARIOS) SEED=$(SEED) WORKLOAD=$(WORKLOAD) sh tools/sim.sh

.PHONY: bench
bench: build ## system scenarios: writes bench/results.json and docs/benchmarks.md
	go run ./internal/bench -weir bin/weir $(BENCHFLAGS)

.PHONY: bench-large
bench-large: build ## a gigabyte of state: writes bench/large.json and docs/benchmarks-large.md; takes minutes
	go run ./internal/bench -weir bin/weir -large $(BENCHFLAGS)

.PHONY: bench-peers
bench-peers: build ## the same counter on Weir, Flink, Kafka Streams, StateFun and Restate: bench/peers.json and docs/peers.md; PEERFLAGS='-only flink -records 2000000'
	go run ./internal/bench/peers -weir bin/weir $(PEERFLAGS)

.PHONY: release
release: ## static binaries for linux and darwin, amd64 and arm64, with checksums, in dist
	VERSION=$(VERSION) sh tools/release.sh

.PHONY: vuln
vuln: ## known vulnerabilities; says so when the database cannot be reached
	@TOOL="$(TOOL)" sh tools/vuln.sh

.PHONY: clean
clean: ## remove what make made
	rm -rf bin dist .cache/docs .cache/bench
