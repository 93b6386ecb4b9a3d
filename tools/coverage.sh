#!/usr/bin/env bash
# Which lines of lib/ the tests run: builds the preset coverage, runs ctest (arguments are passed to
# it), prints gcovr's table. Needs gcovr.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset coverage
cmake --build --preset coverage
find build/coverage -name '*.gcda' -delete
ctest --preset coverage "$@"
gcovr --root . --object-directory build/coverage --filter 'lib/' \
    --exclude-throw-branches --gcov-ignore-parse-errors build/coverage
