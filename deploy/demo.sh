#!/usr/bin/env bash
# The main job through the containers: builds the images, starts the stack, runs tools/demo.sh against
# its gateway with the command of build/release, stops the stack. The volumes stay
# (docker-compose -f deploy/docker-compose.yml down --volumes removes them).
#
#   deploy/demo.sh [DATA [WEIGHTS]]
#
# DATA and WEIGHTS must lie under KINDRED_DATASETS, the folder that the stack sees as /datasets.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x build/release/bin/kindred ] || make
export KINDRED_DATASETS=${KINDRED_DATASETS:-$PWD/build/demo/datasets}
mkdir -p "$KINDRED_DATASETS"

compose=(docker compose)
docker compose version >/dev/null 2>&1 || compose=(docker-compose)
compose+=(-f deploy/docker-compose.yml)
trap '"${compose[@]}" stop' EXIT
"${compose[@]}" up --build --detach
docker image ls --format '{{.Repository}}  {{.Size}}' | grep '^kindred'
gateway=127.0.0.1:${KINDRED_GRPC_PORT:-7700}
for _ in $(seq 60); do
    build/release/bin/kindred health "$gateway" >/dev/null 2>&1 && break
    sleep 1
done
KINDRED_GATEWAY=$gateway tools/demo.sh build/release/bin "${1:-}" "${2:-}"
