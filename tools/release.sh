#!/bin/sh
# Builds static binaries into dist, with a SHA256SUMS file. Go cross-compiles: no other toolchain is needed.
set -eu
: "${VERSION:?}"
rm -rf dist
mkdir -p dist
for os in linux darwin; do
  for arch in amd64 arm64; do
    out=dist/weir_${VERSION}_${os}_${arch}
    CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o "$out" ./cmd/weir
    echo "$out"
  done
done
cd dist
if command -v sha256sum >/dev/null; then sha256sum weir_*; else shasum -a 256 weir_*; fi >SHA256SUMS
cat SHA256SUMS
