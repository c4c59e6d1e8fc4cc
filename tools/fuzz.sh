#!/bin/sh
# Runs every fuzz target for FUZZTIME, one after the other: go test takes one target of one package at a time.
set -eu
: "${FUZZTIME:=20s}"
targets=$(grep -rn --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . | grep -v '/testdata/' | sed 's|^\(.*\)/[^/]*:[0-9]*:func \(.*\)$|\1 \2|' | sort -u)
[ -n "$targets" ] || { echo "fuzz: no fuzz target found" >&2; exit 1; }
echo "$targets" | while read -r dir name; do
  echo "== $name in $dir for $FUZZTIME"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" "$dir" </dev/null
done
