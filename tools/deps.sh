#!/usr/bin/env bash
# Installs what kindred needs from Debian's packages (12 or 13). Idempotent: when everything is
# there it does nothing and needs no network.
#
#   tools/deps.sh             what `make`, `make demo` and `make test` need
#   tools/deps.sh --lint      also clang-format and clang-tidy
#   tools/deps.sh --coverage  also gcovr
#   tools/deps.sh --bench     also what the benchmarks' peers are built with
#   tools/deps.sh --fuzz      also clang with libFuzzer
#   tools/deps.sh --containers  also Docker, compose and debootstrap (make containers); it starts no engine
#   tools/deps.sh --programs  only what the programs are built from (deploy/Dockerfile)
set -euo pipefail

build=(
    build-essential cmake ninja-build pkg-config git ca-certificates dpkg-dev
    libgrpc-dev libprotobuf-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
    libtorch-dev libdnnl-dev libopenblas-dev libhiredis-dev
    libjpeg62-turbo-dev libturbojpeg0-dev libpng-dev libwebp-dev libcairo2-dev libmicrohttpd-dev libgnutls28-dev libjansson-dev libpopt-dev
    libssl-dev libxxhash-dev libsqlite3-dev libzip-dev uthash-dev debian-archive-keyring
)
# The local stack starts a redis-server of its own; the others are for the tests.
run=(redis-server libcmocka-dev python3-numpy python3-pil python3-sklearn python3-grpcio python3-protobuf python3-websocket python3-yaml
    prometheus chromium curl)
lint=(clang-format-19 clang-tidy-19)
coverage=(gcovr)
fuzz=(clang-19 libclang-rt-19-dev)
bench=(python3 python3-venv python3-dev libcurl4-openssl-dev libgrpc++-dev protobuf-compiler-grpc python3-torch python3-torchvision)

containers=(docker.io docker-compose debootstrap)

case ${1:-} in
--lint) want=("${build[@]}" "${run[@]}" "${lint[@]}") ;;
--fuzz) want=("${build[@]}" "${run[@]}" "${fuzz[@]}") ;;
--bench) want=("${build[@]}" "${run[@]}" "${bench[@]}") ;;
--coverage) want=("${build[@]}" "${run[@]}" "${coverage[@]}") ;;
--containers) want=("${build[@]}" "${run[@]}" "${containers[@]}") ;;
--programs) want=("${build[@]}") ;;
*) want=("${build[@]}" "${run[@]}") ;;
esac

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
# RUNLEVEL: redis-server and prometheus are wanted as programs only.
"${as_root[@]}" env RUNLEVEL=1 apt-get install -y -q --no-install-recommends "${missing[@]}"
