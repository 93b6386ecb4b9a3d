#!/usr/bin/env bash
# Installs what kindred needs from Debian's packages (12 or 13). Idempotent: when everything is
# there it does nothing and needs no network.
#
#   tools/deps.sh            what `make`, `make demo` and `make test` need
#   tools/deps.sh --lint     also clang-format and clang-tidy
#   tools/deps.sh --runtime  prints the run-time packages, torch and no-torch, for the containers
set -euo pipefail

build=(
    build-essential cmake ninja-build pkg-config git ca-certificates dpkg-dev
    libgrpc-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
    libtorch-dev libopenblas-dev libhiredis-dev redis-server
    libturbojpeg0-dev libpng-dev libcairo2-dev libmicrohttpd-dev libjansson-dev libpopt-dev
    libssl-dev libxxhash-dev libsqlite3-dev libzip-dev libcmocka-dev uthash-dev debian-archive-keyring
    python3-numpy python3-sklearn
)
lint=(clang-format-19 clang-tidy-19)

want=("${build[@]}")
[ "${1:-}" = --lint ] && want+=("${lint[@]}")

missing=()
for package in "${want[@]}"; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "deps: installing ${missing[*]}"
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
# redis-server is wanted as a program only: the stack starts its own.
"${as_root[@]}" env RUNLEVEL=1 apt-get install -y -q --no-install-recommends "${missing[@]}"
