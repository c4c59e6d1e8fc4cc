#!/bin/sh
# What only a real Apache Kafka can prove: the adapters against two versions of it, an example that is killed while it works,
# and then the harness that kills everything and counts. -short is for CI: fewer kills, fewer records, one version.
set -eu
tests="./internal/kafkabroker ./router/kafkaio ./examples/ad-billing ./internal/e2e/trouble"
go test -tags e2e -count=1 -p 1 -timeout 15m $tests
case ${1-} in
-short)
  shift
  go run ./internal/e2e -kills 10 -broker-kills 2 -records 60000 "$@"
  go run ./internal/e2e -embedded -kills 10 -records 30000 "$@"
  ;;
'')
  go run ./internal/e2e
  go run ./internal/e2e -kafka 3.9.1
  go run ./internal/e2e -embedded -kills 20
  ;;
*) go run ./internal/e2e "$@" ;;
esac
