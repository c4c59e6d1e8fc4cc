#!/bin/sh
# Runs SEEDS seeds of the simulation, from FROM on, and SCENARIOS over Kafka's own protocol, one process per processor; or
# replays SEED, of GENERATION, with every step told. SEARCH looks for other seeds that find the bugs of testdata/found.json.
# Seeds are dealt in turn; a failure names the one command that makes it again.
set -eu

if [ -n "${SEARCH:-}" ]; then
	exec go test -count=1 -timeout 0 -tags planted -v ./runtime/internal/sim -run '^TestEverySeedThatFoundABugFindsItAgain$' -args -search -seeds "$SEEDS"
fi
if [ -n "${SEED:-}" ]; then
	exec go test -count=1 -tags planted -v ./runtime/internal/sim -run '^TestSeed$' -args -seed "$SEED" -workload "${WORKLOAD:-0}" -generation "${GENERATION:-0}"
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go test -tags planted -c -o "$dir/sim.test" ./runtime/internal/sim

shards=$(getconf _NPROCESSORS_ONLN)
cd runtime/internal/sim
# Planted bugs, replays and the same inputs in several ways have a process of their own.
"$dir/sim.test" -test.v -test.run '^TestEvery|^TestTheSame|^TestARun' -test.timeout 0 >"$dir/$shards" 2>&1 &
pids=$!
for shard in $(seq 0 $((shards - 1))); do
	"$dir/sim.test" -test.v -test.run ^TestNothing -test.timeout 0 -from "$FROM" -seeds "$SEEDS" -scenarios "$SCENARIOS" -shard "$shard" -shards "$shards" \
		>"$dir/$shard" 2>&1 &
	pids="$pids $!"
done
failed=0
for pid in $pids; do
	wait "$pid" || failed=1
done
for shard in $(seq 0 "$shards"); do
	grep -v -e '^=== ' -e '^ *--- PASS: .*/[0-9]* ' -e '^PASS' "$dir/$shard" || true
done
exit $failed
