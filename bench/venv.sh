#!/usr/bin/env bash
# Makes the Python environment that the peers of bench/ run in, build/bench/peers, from bench/peers.txt,
# and prints the path of its python. Idempotent: what is there and of this peers.txt stays. A package that
# can't be had is named and left out; a benchmark says which of its peers are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$PWD/build/bench/peers

if ! cmp -s bench/peers.txt "$venv/peers.txt"; then
    echo "bench: installing bench/peers.txt into build/bench/peers (2 GB)" >&2
    /usr/bin/python3 -m venv "$venv" >&2
    # torch first and alone: what comes after finds it there and asks for no other build of it.
    while read -r package; do
        "$venv/bin/pip" install -q --disable-pip-version-check "$package" >&2 ||
            echo "bench: $package can't be installed here" >&2
    done < <(grep -v '^#' bench/peers.txt)
    cp bench/peers.txt "$venv/"
fi
echo "$venv/bin/python"
