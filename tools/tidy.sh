#!/usr/bin/env bash
# clang-tidy over our C files, by the compile commands of a build folder that has been built (generated
# headers must be there). C++ units are left out: LibTorch's headers alone take minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
git ls-files -- 'lib/*.c' 'services/*.c' 'tools/*.c' |
    xargs -r -P "$(nproc)" -n 6 clang-tidy-19 -p "$build" --quiet 2> >(grep -vE 'warnings? generated|^$' >&2)
