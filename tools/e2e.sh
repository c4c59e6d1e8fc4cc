#!/bin/sh
# What only a real Apache Kafka can prove: every test of a file with the tag e2e, and no other, since `make test` has run the
# rest; then the harness that kills everything and counts. -short is for CI: fewer kills, fewer records, one version.
set -eu
files=$(grep -rl --exclude-dir='.?*' --include='*_test.go' '^//go:build .*e2e' .)
names=$(sed -n 's/^func \(Test[A-Za-z0-9_]*\)(.*/\1/p' $files | sort -u | paste -s -d '|' -)
[ -n "$names" ] || { echo "e2e: no test found" >&2; exit 1; }
# Two packages at a time, each with a broker on ports of its own: most of the time is waiting for one to start.
go test -tags e2e -count=1 -p 2 -timeout 15m -run "^($names)\$" $(dirname $files | sort -u)
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
