#!/bin/sh
# The 60-second tour of the README without a hand on the keyboard: starts weir dev with the counter, sends it events, shows
# the answers, kills it as a crash does, and shows that nothing was lost. What it starts it stops, by its process id.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
weir=$root/bin/weir
listen=${LISTEN:-127.0.0.1:8088}
data_plane=${DATA_PLANE:-127.0.0.1:8089}
kafka=${KAFKA:-127.0.0.1:9092}
export WEIR_SERVER="http://$listen"
work=$(mktemp -d)
pid=

finish() {
  code=$?
  trap - EXIT INT TERM
  [ -z "$pid" ] || kill "$pid" 2>/dev/null || :
  [ -z "$pid" ] || wait "$pid" 2>/dev/null || :
  if [ "$code" -ne 0 ]; then
    echo "make run: failed; weir dev wrote:" >&2
    cat "$work/log" >&2
    if grep -q 'is in use' "$work/log"; then
      echo "make run: choose another address for what is in use:" >&2
      case $(cat "$work/log") in
      *--listen*) echo "  make run LISTEN=127.0.0.1:18088" >&2 ;;
      *--data-plane*) echo "  make run DATA_PLANE=127.0.0.1:18089" >&2 ;;
      *--kafka*) echo "  make run KAFKA=127.0.0.1:19092" >&2 ;;
      esac
    fi
  fi
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# start begins weir dev and waits for a line of its output: the first build on a machine compiles the standard library too, which takes a minute or two.
start() {
  : >"$work/log"
  "$weir" dev "$root/examples/counter" --data "$work/data" \
    --listen "$listen" --data-plane "$data_plane" --kafka "$kafka" >"$work/log" 2>&1 &
  pid=$!
  tries=0
  until grep -q '^ *deployed' "$work/log"; do
    kill -0 "$pid" 2>/dev/null || { pid=; exit 1; }
    tries=$((tries + 1))
    [ "$tries" -le 1800 ] || exit 1
    sleep 0.1
  done
}

# show runs a command as a reader would type it, and stops when the answer is not the one expected.
show() {
  expected=$1
  shift
  echo "\$ weir $*"
  answer=$("$weir" "$@")
  [ -z "$answer" ] || echo "$answer"
  case $answer in
  *"$expected"*) ;;
  *) echo "make run: expected: $expected" >&2; exit 1 ;;
  esac
}

echo "\$ weir dev examples/counter &"
start
cat "$work/log"
show 3 invoke example/counter ann 3
show 7 invoke example/counter ann 4
show '' produce clicks ann 5
show 12 consume counts -n 3
show 12 state get example/counter ann
echo "\$ kill -9 $pid; weir dev examples/counter &"
kill -9 "$pid"
wait "$pid" 2>/dev/null || :
start
cat "$work/log"
show 12 invoke example/counter ann 0
show running jobs
cat <<'E2'

That was a function with state, called over HTTP and through Kafka, and a crash that it did not notice. Where to look next:
  examples/counter/main.go      the function, 20 lines
  bin/weir new hello            your own: a folder that builds, tests and reloads
  examples/ad-billing           functions that ask each other
  README.md                     the same tour, to type
E2
