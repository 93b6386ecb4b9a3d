#!/usr/bin/env bash
# Formats our C and C++ in place; with --check says what differs and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=-i
[ "${1:-}" = --check ] && mode='--dry-run -Werror'
# shellcheck disable=SC2086  # two words on purpose
git ls-files -z -- '*.c' '*.h' '*.cpp' '*.hpp' | xargs -0 -r clang-format-19 $mode
