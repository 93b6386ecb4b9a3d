"""bench-search: an indexer of 100,000 drawn vectors of 512 values over gRPC, one query a call at 1, 8 and
64 on their way, alone and with 500 upserts a second beside it; lib/vector's search in a process of its
own beside them, as many queries at a time. Rounds alternate; each ratio is the median of those within a
round.

    make bench-search [FULL=1]
    python3 bench/search/run.py BUILD/bin [N]
"""

import json
import os
import pathlib
import statistics
import sys

BIN = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "embedder"))
from stack import Stack, wait_until  # noqa: E402 (processes, whatever they are)

FULL = os.environ.get("FULL") == "1"
N = int(sys.argv[2]) if len(sys.argv) > 2 else 100000
QUERIES, DIM = 1000, 512
THREADS = len(os.sched_getaffinity(0))
ROUNDS, SECONDS, WARM = (9, 5, 0.5) if FULL else (5, 3, 0.5)
IN_FLIGHT = (1, 8, 64)
UPSERTS = 500  # a second
GOALS = {1: 0.9, 8: 0.8, 64: 0.8}  # of what lib/vector does alone, so many queries at a time
BESIDE = 0.8  # of the rate without upserts


def drawn(stack):
    """As bench-vector draws them."""
    folder = BIN.parent.parent / "bench/vector"
    words = [f"{N}-{QUERIES}-{DIM}"]
    path, truth = folder / f"drawn-{words[0]}", folder / f"truth-{words[0]}"
    if not truth.exists():
        folder.mkdir(parents=True, exist_ok=True)
        stack.start([BIN / "bench_vector_ours", "draw", N, QUERIES, DIM, path, truth]).wait()
    return [path, N, QUERIES, DIM], truth


def indexer(stack):
    ready = stack.folder / "ready"
    process = stack.start([BIN / "kindred-indexer", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
                           "--data", stack.folder / "data", "--ready", ready])
    wait_until(ready.exists, process, "kindred-indexer")
    return json.loads(ready.read_text(encoding="utf-8"))["grpc"]


def searched(side, in_flight):
    got = side.ask("search", in_flight, WARM, SECONDS)
    if got["recall"] < 0.9999:
        sys.exit(f"bench-search: the answers are not exact: {got['recall']}")
    return got


def searched_beside(side, upserts, in_flight):
    """With upserts that begin before and end after."""
    upserts.process.stdin.write(f"upserts {UPSERTS} {WARM + SECONDS + 0.5}\n")
    upserts.process.stdin.flush()
    got = searched(side, in_flight)
    got["upserts"] = upserts.answer()["rate"]
    return got


def alone(side, at_once, rate):
    """lib/vector, for about as long."""
    batches = min(QUERIES // at_once, max(1, int(rate * SECONDS / at_once)))
    got = side.ask("exact", at_once, batches)
    if got["recall"] < 0.999:
        sys.exit(f"bench-search: lib/vector is not exact: {got['recall']}")
    return got


def main():
    with Stack(BIN) as stack:
        words, truth = drawn(stack)
        address = indexer(stack)
        load = [BIN / "bench_search_load", address, "drawn", *words, truth]
        side, upserts = stack.side(load), stack.side(load)
        inside = stack.side([BIN / "bench_vector_ours", "run", *words, THREADS, truth])
        inside.ask("load")
        filled = side.ask("fill")["seconds"]
        print(f"{N:,} vectors of {DIM}, exact, {THREADS} threads, medians of {ROUNDS} rounds; filled in "
              f"{filled:.1f} s ({N / filled:,.0f} a second)")
        runs = {}
        rate = {count: 50 for count in IN_FLIGHT}
        for turn in range(ROUNDS):
            for count in IN_FLIGHT[::-1 if turn % 2 else 1]:
                inner = alone(inside, count, rate[count])
                rate[count] = inner["rate"]
                got = {"lib/vector": inner, "gRPC": searched(side, count),
                       "upserts": searched_beside(side, upserts, count)}
                for name, run in got.items():
                    runs.setdefault((name, count), []).append(run)

    def median(name, count, key):
        return statistics.median(run[key] for run in runs[name, count])

    print(f"{'':>32} | {'queries/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'upserts/s':>10}")
    for count in IN_FLIGHT:
        print(f"{f'lib/vector, {count} at a time':>32} | {median('lib/vector', count, 'rate'):10.1f}")
        for name, label in (("gRPC", "on their way"), ("upserts", "and upserts")):
            beside = f"{median(name, count, 'upserts'):10.0f}" if name == "upserts" else ""
            print(f"{f'gRPC, {count} {label}':>32} | {median(name, count, 'rate'):10.1f} "
                  f"{median(name, count, 'p50_ms'):8.2f} {median(name, count, 'p99_ms'):8.2f} {beside}")
    for count in IN_FLIGHT:
        for name, label, reference, goal in (("gRPC", "served-share", "lib/vector", GOALS[count]),
                                             ("upserts", "beside-upserts", "gRPC", BESIDE)):
            value = statistics.median(a["rate"] / b["rate"]
                                      for a, b in zip(runs[name, count], runs[reference, count]))
            print(f"ratio search-{label}-{count}-in-flight {value:.3f} (goal {goal})")


main()
