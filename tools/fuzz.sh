#!/usr/bin/env bash
# Runs the fuzzers of build/fuzz (preset fuzz, built), one for each core at a time; fails when one found
# a fault.
#
#   tools/fuzz.sh [SECONDS] [NAME…]     SECONDS for each (600), of these targets (all)
#
# They begin from tests/fuzz/corpus and keep what reaches new code in build/fuzz/corpus for the next
# run. An input that broke something lies in build/fuzz/found; `build/fuzz/bin/fuzz_NAME FILE` repeats
# it. Once the fault is mended, the input becomes a file of tests/fuzz/corpus/NAME.
set -euo pipefail
cd "$(dirname "$0")/.."
each=${1:-600}
[ $# -gt 0 ] && shift
build=build/fuzz
list=$build/tests/fuzz/fuzzers
[ -s "$list" ] || { echo "fuzz: no $list; cmake --preset fuzz && cmake --build --preset fuzz" >&2; exit 1; }
[ $# -gt 0 ] || mapfile -t names < <(cut -d' ' -f1 "$list")
[ $# -eq 0 ] || names=("$@")
mkdir -p "$build/found" "$build/log"
failed=()
# Names in reports: Debian's clang looks for LLVM's symbolizer, which is not among our packages.
export ASAN_SYMBOLIZER_PATH=${ASAN_SYMBOLIZER_PATH:-$(command -v addr2line)}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

run() {
    local name=$1 log=$build/log/$1.log corpus=$build/corpus/$1 options rate max_len status=0
    max_len=$(awk -v n="$name" '$1 == n { print $2 }' "$list")
    mkdir -p "$corpus"
    options=(-max_total_time="$each" -max_len="$max_len" -timeout=60 -rss_limit_mb=1024
        -print_final_stats=1 -artifact_prefix="$build/found/$name-")
    [ -f "tests/fuzz/$name.dict" ] && options+=(-dict="tests/fuzz/$name.dict")
    "$build/bin/fuzz_$name" "${options[@]}" "$corpus" "tests/fuzz/corpus/$name" >"$log" 2>&1 || status=$?
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    printf 'fuzz %-12s %s inputs a second, %s\n' "$name" "${rate:-?}" \
        "$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -1)"
    [ "$status" -eq 0 ] || touch "$build/log/$name.failed"
}

rm -f "$build"/log/*.failed
for name in "${names[@]}"; do
    grep -q "^$name " "$list" || { echo "fuzz: no target $name in $list" >&2; exit 1; }
    [ "$(jobs -rp | wc -l)" -lt "$(nproc)" ] || wait -n
    run "$name" &
done
wait
for name in "${names[@]}"; do
    [ -f "$build/log/$name.failed" ] || continue
    failed+=("$name")
    grep -vE '^(INFO|#[0-9])' "$build/log/$name.log" | head -60
done

[ ${#failed[@]} -eq 0 ] && exit 0
echo "fuzz: faults found by ${failed[*]}; the inputs are in $build/found, the logs in $build/log" >&2
exit 1
