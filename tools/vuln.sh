#!/bin/sh
# Runs govulncheck. A database that cannot be reached is not a clean bill: exit 2 says that nothing was checked.
set -u
: "${TOOL:=go tool -modfile=tools/go.mod}"
out=$(eval "$TOOL govulncheck ./..." 2>&1)
code=$?
echo "$out"
case $out in
*"no such host"* | *"connection refused"* | *"dial tcp"* | *"fetching vulnerabilities"* | *"Forbidden"*)
  echo "vuln: the vulnerability database cannot be reached from here: nothing was checked" >&2
  exit 2
  ;;
esac
exit $code
