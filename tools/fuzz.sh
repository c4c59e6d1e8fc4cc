#!/bin/sh
# Runs every fuzz target for FUZZTIME, one after the other: a test binary takes one target at a time. Each package is built
# once, with the instrumentation of `go test -fuzz`, and finds go's own corpora: the one in testdata and the cache.
set -eu
: "${FUZZTIME:=20s}"
targets=$(grep -rn --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . | grep -v '/testdata/' | sed 's|^\(.*\)/[^/]*:[0-9]*:func \(.*\)$|\1 \2|' | sort -u)
[ -n "$targets" ] || { echo "fuzz: no fuzz target found" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz
built=
echo "$targets" | while read -r dir name; do
  if [ "$dir" != "$built" ]; then
    go test -c -fuzz . -o "$work/fuzz.test" "$dir" </dev/null
    package=$(go list "$dir" </dev/null)
    built=$dir
  fi
  echo "== $name in $dir for $FUZZTIME"
  (cd "$dir" && "$work/fuzz.test" -test.run '^$' -test.fuzz "^$name\$" -test.fuzztime "$FUZZTIME" -test.fuzzcachedir "$cache/$package") </dev/null
done
