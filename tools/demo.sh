#!/usr/bin/env bash
# The main job from end to end: `make demo` calls it with the folder of the programs, a dataset (empty:
# products that kindred-draw draws), a weights file (empty: random weights) and options of `kindred
# train` that go before those below.
#
# With KINDRED_GATEWAY it starts no stack and uses that one, which sees the dataset as /datasets/products
# and the weights file in /datasets (deploy/containers.py).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1 data=$2 weights=$3
shift 3
export PATH="$PWD/$bin:$PATH"
work=build/demo
stack=$work/stack
mkdir -p "$work"

say() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}

# Small inputs and few epochs keep the demo short: these are for two cores. Every product is to be
# trained on, so images validate, not whole products.
if [ -n "$weights" ]; then
    train_options=(--validation images --image-size 160 --epochs 6 --learning-rate 0.00005)
else
    train_options=(--validation images --image-size 96 --epochs 8 --learning-rate 0.001)
fi

if [ -z "$data" ]; then
    data=$work/products
    if [ ! -f "$data/Ebay_train.txt" ]; then
        say "Drawing products"
        run kindred-draw "$data"
    fi
fi
data=$(realpath "$data")
[ -z "$weights" ] || weights=$(realpath "$weights")
photo=$data/$(awk 'NR == 2 {print $4}' "$data/Ebay_test.txt")

if [ -n "${KINDRED_GATEWAY:-}" ]; then
    at=(--gateway "$KINDRED_GATEWAY")
    data=/datasets/products
    [ -z "$weights" ] || weights=/datasets/$(basename "$weights")
else
    at=(--data "$stack")
    finish() { kindred down --data "$stack" >/dev/null 2>&1 || true; }
    trap finish EXIT
    say "Starting the stack"
    kindred down --data "$stack" >/dev/null 2>&1 || true
    rm -rf "$stack"
    run kindred up --data "$stack" --detach
fi
run kindred status "${at[@]}"

say "A plain model"
if [ -n "$weights" ]; then
    run kindred model import "$weights" --name plain "${at[@]}"
else
    run kindred model init --name plain "${at[@]}"
fi

say "Training"
run kindred train "$data" --loss triplet --model plain --name trained \
    "${train_options[@]}" "$@" "${at[@]}"

say "Indexing"
run kindred index "$data" --model trained --collection products "${at[@]}"

say "Searching"
run kindred search "$photo" --collection products -k 5 --html "$work/search.html" "${at[@]}"

say "Evaluating"
run kindred evaluate "$data" --model plain --model trained --out "$work/report" "${at[@]}"

say "Done"
echo "report:  $PWD/$work/report/report.html"
echo "search:  $PWD/$work/search.html"
if [ -z "${KINDRED_GATEWAY:-}" ]; then
    echo "data:    $PWD/$stack (start it again with: kindred up --data $PWD/$stack)"
fi
