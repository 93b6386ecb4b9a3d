"""bench-search: an indexer of 100,000 drawn vectors of 512 values over gRPC, one query a call at 1, 8 and
64 on their way, alone and with 500 upserts a second beside it; lib/vector's search in a process of its
own beside them, as many queries at a time. Rounds alternate; each ratio is the median of those within a
round. FULL=1 takes more rounds, and does the same with an approximate index (HNSW tuned to a recall of
0.95), all rounds beside lib/vector's searches with one on all threads, then all beside upserts.

Then 60,502 images are measured by their vectors and through a collection, which must give the same.

    make bench-search [FULL=1]
    python3 bench/search/run.py BUILD/bin [N [exact|hnsw]…]
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

BIN = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "embedder"))
from stack import Stack, wait_until  # noqa: E402 (processes, whatever they are)

FULL = os.environ.get("FULL") == "1"
N = int(sys.argv[2]) if len(sys.argv) > 2 else 100000
KINDS = sys.argv[3:] or (["exact", "hnsw"] if FULL else ["exact"])
LEAST = {"exact": 0.9999, "hnsw": 0.93}  # recall of the answers
EVALUATED = 60502  # images of Stanford Online Products' test split
QUERIES, DIM = 1000, 512
THREADS = len(os.sched_getaffinity(0))
ROUNDS, SECONDS, WARM = (9, 5, 0.5) if FULL else (5, 3, 0.5)
IN_FLIGHT = (1, 8, 64)
UPSERTS = 500  # a second
GOALS = {1: 0.9, 8: 0.8, 64: 0.8}  # of what lib/vector does alone, so many queries at a time
BESIDE = 0.8  # of the rate without upserts
GOAL_HNSW = 0.5  # of what lib/vector does alone on all threads


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


def searched(side, in_flight, kind):
    got = side.ask("search", in_flight, WARM, SECONDS)
    if got["recall"] < LEAST[kind]:
        sys.exit(f"bench-search: {kind} has a recall of {got['recall']}")
    return got


def searched_beside(side, upserts, in_flight, kind):
    """With upserts that begin before and end after."""
    upserts.process.stdin.write(f"upserts {UPSERTS} {WARM + SECONDS + 0.5}\n")
    upserts.process.stdin.flush()
    got = searched(side, in_flight, kind)
    got["upserts"] = upserts.answer()["rate"]
    return got


def alone(side, kind, at_once, rate, effort):
    """lib/vector, for about as long."""
    if kind == "exact":
        batches = min(QUERIES // at_once, max(1, int(rate * SECONDS / at_once)))
        got = side.ask("exact", at_once, batches)
    else:
        got = side.ask("approximate", effort, max(1, int(rate * SECONDS / QUERIES)))
    if got["recall"] < LEAST[kind]:
        sys.exit(f"bench-search: lib/vector's {kind} has a recall of {got['recall']}")
    return got


def measure(stack, words, truth, address, kind):
    """Prints the table of one kind of index; returns its ratios."""
    load = [BIN / "bench_search_load", address, kind, *words, truth]
    side, upserts = stack.side(load), stack.side(load)
    inside = stack.side([BIN / "bench_vector_ours", "run", *words, THREADS, truth])
    inside.ask("load")
    effort = inside.ask("build", "hnsw", "i8")["effort"] if kind == "hnsw" else 0
    filled = side.ask("fill", kind)
    print(f"{N:,} vectors of {DIM}, {kind}, {THREADS} threads, medians of {ROUNDS} rounds; filled in "
          f"{filled['seconds']:.1f} s ({N / filled['seconds']:,.0f} a second), all there after "
          f"{filled['built']:.1f} s", flush=True)
    runs, rate = {}, {count: 50 for count in IN_FLIGHT}

    def keep(name, count, run):
        runs.setdefault((name, count), []).append(run)

    # Upserts leave images without an index: where there is one, they come after.
    for quiet, beside in [(True, True)] if kind == "exact" else [(True, False), (False, True)]:
        for turn in range(ROUNDS):
            for count in IN_FLIGHT[::-1 if turn % 2 else 1]:
                if quiet:
                    inner = alone(inside, kind, count, rate[count], effort)
                    rate[count] = inner["rate"]
                    keep("lib/vector", count, inner)
                    keep("gRPC", count, searched(side, count, kind))
                if beside:
                    keep("upserts", count, searched_beside(side, upserts, count, kind))
    for one in (side, upserts, inside):
        stack.end_side(one)

    def median(name, count, key):
        return statistics.median(run[key] for run in runs[name, count])

    print(f"{'':>32} | {'queries/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'recall':>8} {'upserts/s':>10}")
    for count in IN_FLIGHT:
        at_once = f"{count} at a time" if kind == "exact" else "on all threads"
        print(f"{f'lib/vector, {at_once}':>32} | {median('lib/vector', count, 'rate'):10.1f} {'':17} "
              f"{median('lib/vector', count, 'recall'):8.4f}")
        for name, label in (("gRPC", "on their way"), ("upserts", "and upserts")):
            beside = f"{median(name, count, 'upserts'):10.0f}" if name == "upserts" else ""
            print(f"{f'gRPC, {count} {label}':>32} | {median(name, count, 'rate'):10.1f} "
                  f"{median(name, count, 'p50_ms'):8.2f} {median(name, count, 'p99_ms'):8.2f} "
                  f"{median(name, count, 'recall'):8.4f} {beside}", flush=True)

    def ratio(name, reference, count):
        return statistics.median(a["rate"] / b["rate"]
                                 for a, b in zip(runs[name, count], runs[reference, count]))

    lines = []
    for count in IN_FLIGHT:
        if kind == "exact":
            lines.append(f"ratio search-served-share-{count}-in-flight "
                         f"{ratio('gRPC', 'lib/vector', count):.3f} (goal {GOALS[count]})")
            lines.append(f"ratio search-beside-upserts-{count}-in-flight "
                         f"{ratio('upserts', 'gRPC', count):.3f} (goal {BESIDE})")
    if kind == "hnsw":
        lines.append(f"ratio search-hnsw-served-share-64-in-flight {ratio('gRPC', 'lib/vector', 64):.3f} "
                     f"(goal {GOAL_HNSW})")
    return lines


def evaluated():
    """The test of this, with as many images as the set has that people measure by."""
    done = subprocess.run([BIN / "test_indexer_evaluate"], check=False, stdout=subprocess.DEVNULL,
                          env=dict(os.environ, KINDRED_EVALUATE_N=str(EVALUATED)))
    return f"ratio evaluate-through-a-collection-{EVALUATED} {int(done.returncode == 0)} (goal 1)"


def main():
    lines = []
    with Stack(BIN) as stack:
        words, truth = drawn(stack)
        address = indexer(stack)
        for kind in KINDS:
            lines += measure(stack, words, truth, address, kind)
    lines.append(evaluated())
    print("\n".join(lines))


main()
