"""bench-embedder: the embedder as a service, photographs in over gRPC and embeddings out, beside what it
has inside (its forward; decode and forward of one photograph) and beside LitServe around PyTorch, with and
without a Redis cache. Then four times as many photographs as it can take, for a while. Rounds alternate;
each ratio is the median of those within a round.

    make bench-embedder [FULL=1] [DATA=DIR] [PRECISION=bfloat16]

DIR holds JPEGs; else the photographs in ../shared/datasets/grocery, else drawn products. The peers are those
of bench/venv.sh, or in the python that PEER_PYTHON names.
"""

import os
import pathlib
import statistics
import sys
import time

from stack import (NOBODY, Stack, answers, free_port, metrics, pause, peer_environment, peer_python,
                   photographs, resume, wait_until)

BIN = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
FULL = os.environ.get("FULL") == "1"
PRECISION = os.environ.get("PRECISION") or "float32"
THREADS = len(os.sched_getaffinity(0))
DIM = 512
ROUNDS = 9 if FULL else 5
LONG, SHORT = (12, 5) if FULL else (8, 3)  # seconds of one round at 8 and more, and at 1 in flight
OVERLOAD, OVERLOAD_TIMES = 60, 4  # seconds; of the peak
SETTLE = 2  # seconds after the overload
PATIENT = ["--max-wait-ms", "30000"]  # 128 in flight would be too many for a slow machine else
PEER_SETTINGS = [(workers, timeout) for workers in (1, 2) for timeout in (5, 50)]  # …ms
GOALS = {"raw": 0.85 if PRECISION == "bfloat16" else 0.9, "single": 0.77, "litserve": 1.5, "cached": 4,
         "cache-all-new": 0.95, "overload": 0.9, "recovery": 0.67}


def closed(side, in_flight, seconds, kind="fresh", warm=1.0):
    """One run of a load generator; every answer must be good."""
    run = side.ask("closed", in_flight, warm, seconds, kind)
    if set(run["codes"]) != {"OK"}:
        sys.exit(f"bench-embedder: at {in_flight} in flight {run['codes']}")
    return run


def watched(process, side, in_flight, seconds, **more):
    """The same, and how many images the embedder's forwards had."""
    before = metrics(process)
    run = closed(side, in_flight, seconds, **more)
    after = metrics(process)
    images, batches = (after[name] - before[name] for name in (
        "kindred_embed_computed_total", "kindred_embed_batches_total"))
    run["batch"] = images / batches
    return run


def fill(side):
    """Until all of the cached photographs are in the cache."""
    for _ in range(20):
        run = closed(side, 8, 1, "cached", 0)
        if run["cached"] == run["codes"]["OK"]:
            return
    sys.exit("bench-embedder: the cache does not fill")


# ---- LitServe ----

class LitServe:
    """With those of its settings that are fastest at 32 in flight, paused when it is not asked."""

    def __init__(self, stack, python, weights, listing, redis=None):
        self.stack, self.kind = stack, "cached" if redis else "fresh"
        best = None
        for workers, timeout in PEER_SETTINGS:
            port = free_port()
            self.process = stack.start([python, HERE / "peer.py", port, weights, workers, timeout,
                                        *([redis] if redis else [])], peer_environment())
            wait_until(lambda: answers(port), self.process, "LitServe")
            self.http = stack.side([BIN / "bench_embedder_http", f"http://127.0.0.1:{port}/predict", DIM,
                                    listing])
            rate = closed(self.http, 32, 3, self.kind, 2)["per_second"]
            tried = (rate, workers, timeout, self.process, self.http)
            slower = tried if best and rate <= best[0] else best
            best = tried if slower is not tried else best
            if slower:
                stack.end_side(slower[4])
                stack.end(slower[3])
        _, workers, timeout, self.process, self.http = best
        self.about = f"{workers} worker{'s' if workers > 1 else ''}, batch timeout {timeout} ms"
        pause(self.process)

    def load(self, in_flight, seconds):
        resume(self.process)
        run = closed(self.http, in_flight, seconds, self.kind)
        pause(self.process)
        return run


# ---- The run ----

def overload(load, second, peak):
    """What is served of four times as much, and how soon one photograph at a time is served as before.
    The rate that it is compared with is of just before and just after: a minute changes the machine."""
    rates = [closed(load, 32, LONG)["per_second"]]
    before = closed(second, 1, 3)
    load.ask("open", OVERLOAD_TIMES * peak, 5, OVERLOAD - 5)  # answers when the last call has begun
    time.sleep(SETTLE)
    after = second.ask("closed", 1, 0, 2, "fresh")
    during = load.answer()
    rates.append(closed(load, 32, LONG)["per_second"])
    during["share"] = during["per_second"] / statistics.mean(rates)
    return before, during, after


def table(label, runs):
    middle = {key: statistics.median(run[key] for run in runs) if all(key in run for run in runs) else None
              for key in ("per_second", "p50_ms", "p99_ms", "batch", "client_cpu_us")}
    print(f"{label:>28} | " + " ".join("".rjust(10) if value is None else f"{value:10.1f}"
                                       for value in middle.values()), flush=True)


def main():
    paths, folder, kind = photographs(BIN)
    python = peer_python("fastapi", "litserve", "numpy", "PIL", "redis", "torch")
    options = [] if PRECISION == "float32" else ["--precision", PRECISION]
    with Stack(BIN) as stack:
        listing = stack.folder / "photographs.txt"
        listing.write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
        data, (model,) = stack.models(plain=224)
        weights = data / "models" / model["id"] / "model.safetensors"
        redis = stack.redis()

        def load(process):
            return stack.side([BIN / "bench_embedder_load", process.address, "plain", listing])

        process = stack.embedder(data, f"127.0.0.1:{redis}", *options, *PATIENT)
        ours = load(process)
        shedding = stack.embedder(data, f"127.0.0.1:{redis}", *options)
        many, second = load(shedding), load(shedding)
        bare = load(stack.embedder(data, NOBODY, *options, *PATIENT))
        inside = stack.side([BIN / "bench_embedder_ours", weights, PRECISION, THREADS, listing])
        for side in (ours, bare, second):
            closed(side, 16, 1)
        fill(ours)
        runs = {
            "forward alone, 32": lambda: inside.ask("forward", 32, LONG),
            "decode and forward, 1": lambda: inside.ask("single", SHORT),
            "embedder, 1": lambda: watched(process, ours, 1, SHORT),
            "embedder, 8": lambda: watched(process, ours, 8, LONG),
            "embedder, 32": lambda: watched(process, ours, 32, LONG),
            "embedder, 128": lambda: watched(process, ours, 128, LONG, warm=4),
            "no Redis, 32": lambda: closed(bare, 32, LONG),
            "embedder, cached, 32": lambda: closed(ours, 32, SHORT, "cached"),
        }
        about = []
        if python:
            plain = LitServe(stack, python, weights, listing)
            cached = LitServe(stack, python, weights, listing, stack.redis())
            runs["LitServe, 32"] = lambda: plain.load(32, LONG)
            runs["LitServe, cached, 32"] = lambda: cached.load(32, SHORT)
            about = [f"LitServe: {plain.about}; cached: {cached.about}"]

        print(f"ResNet18 at 224 × 224, {PRECISION}, {THREADS} threads, {inside.about['ready']}; {len(paths)} "
              f"images in {folder} ({kind}); medians of {ROUNDS} rounds")
        print("\n".join(about))
        print(f"{'':>28} | {'images/s':>10} {'p50 ms':>10} {'p99 ms':>10} {'batch':>10} {'client µs':>10}",
              flush=True)
        got = {name: [] for name in runs}
        for turn in range(ROUNDS):
            for name in list(runs)[::-1 if turn % 2 else 1]:
                got[name].append(runs[name]())
        for name, some in got.items():
            table(name, some)

        def ratio(label, name, reference, goal, key="per_second"):
            pairs = zip(got[name], got[reference])
            value = statistics.median(a[key] / b[key] if key == "per_second" else b[key] / a[key]
                                      for a, b in pairs)
            return f"ratio {label} {value:.3f} (goal {goal})"

        peak = max(statistics.median(run["per_second"] for run in got[f"embedder, {n}"])
                   for n in (8, 32, 128))
        before, during, after = overload(many, second, peak)
    table("one before the overload", [before])
    table(f"{OVERLOAD_TIMES} times the peak", [during])
    table(f"one {SETTLE} s after", [after])
    print(f"of the overload's calls: {during['codes']}")
    if set(during["codes"]) != {"OK", "RESOURCE_EXHAUSTED"}:
        sys.exit("bench-embedder: another answer than OK or RESOURCE_EXHAUSTED under overload")

    print(ratio("embedder-32-to-forward", "embedder, 32", "forward alone, 32", GOALS["raw"]))
    print(ratio("embedder-1-to-decode-and-forward", "embedder, 1", "decode and forward, 1",
                GOALS["single"], "p50_ms"))
    if python:
        print(ratio("embedder-32-to-litserve", "embedder, 32", "LitServe, 32", GOALS["litserve"]))
        print(ratio("embedder-cached-32-to-litserve", "embedder, cached, 32", "LitServe, cached, 32",
                    GOALS["cached"]))
    else:
        print("LitServe is not there: bench/venv.sh")
    print(ratio("cache-all-new", "embedder, 32", "no Redis, 32", GOALS["cache-all-new"]))
    print(f"ratio overload-throughput {during['share']:.3f} (goal {GOALS['overload']})")
    recovery = before["p50_ms"] / after.get("p50_ms", float("inf"))
    print(f"ratio overload-recovery {recovery:.3f} (goal {GOALS['recovery']})")


main()
