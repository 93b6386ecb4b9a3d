"""bench-vector: lib/vector beside FAISS, usearch and hnswlib from PyPI, on drawn clusters of 512 values and on
the embeddings of the grocery photographs, where ../shared has them: exact search of one query and of 64, and
approximate search at equal recall, on the same threads. Rounds alternate; each ratio is the median of those
within a round. The goals are for the clusters: the photographs are few.

    make bench-vector [FULL=1]
    python3 bench/vector/run.py BUILD/bin [exact|approximate [N|grocery [QUERIES [SIDE…]]]]

The peers are installed into build/bench/vector, or run in the python3 that PEER_PYTHON names. FULL=1
takes more rounds, adds exact search of 1,000,000 vectors, usearch with 8-bit values and our other
storages; `approximate 1000000` builds graphs of a million, which takes long: less with some of the sides
(hnsw-f32, hnsw-i8, faiss, hnswlib, usearch) alone.
"""

import os
import pathlib
import statistics
import subprocess
import sys

import numpy as np

BIN = pathlib.Path(sys.argv[1])
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from photographs import GROCERY, WEIGHTS, embed, listing  # noqa: E402 (beside the folders of the benchmarks)
from side import Side  # noqa: E402

FULL = os.environ.get("FULL") == "1"
FOLDER = BIN.parent.parent / "bench/vector"
ROUNDS = 9 if FULL else 5
THREADS = len(os.sched_getaffinity(0))
DIM, K = 512, 10
QUERIES = int(sys.argv[4]) if len(sys.argv) > 4 else 1000
RECALLS = (0.95, 0.99)
ONLY = sys.argv[5:]  # sides of the approximate search
OURS = BIN / "bench_vector_ours"


def peer_python():
    named = os.environ.get("PEER_PYTHON")
    if named:
        return named
    python = FOLDER / "bin/python3"
    if not python.exists():
        if subprocess.run(["python3", "-m", "venv", FOLDER], check=False).returncode != 0:
            return None
    needs = [python, "-c", "import faiss, usearch, hnswlib"]
    if subprocess.run(needs, capture_output=True, check=False).returncode != 0:
        install = [python, "-m", "pip", "install", "--quiet", "-r", HERE / "peers.txt"]
        if subprocess.run(install, check=False).returncode != 0:
            return None
    return python


def drawn(n):
    """The vectors and the true neighbours of the queries, drawn and found once."""
    path = FOLDER / f"drawn-{n}-{QUERIES}-{DIM}"
    truth = FOLDER / f"truth-{n}-{QUERIES}-{DIM}"
    if not truth.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run([OURS, "draw", str(n), str(QUERIES), str(DIM), path, truth], check=True)
    return str(n), [path, n, QUERIES, DIM, THREADS, truth]


def photographs():
    """The same of the grocery photographs, by the ImageNet weights; None where they aren't."""
    if not GROCERY.exists() or not WEIGHTS.exists():
        print("the grocery photographs and the ImageNet weights are not there")
        return None
    path, truth = FOLDER / "grocery", FOLDER / "grocery-truth"
    gallery, queries = (listing(GROCERY, name)[0] for name in ("Ebay_train.txt", "Ebay_test.txt"))
    if not truth.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        found, = embed(BIN / "bench_nn_ours", WEIGHTS, gallery + queries, "float32")
        found.tofile(path)
        scores = found[len(gallery):].astype("f8") @ found[:len(gallery)].astype("f8").T
        np.argsort(-scores, axis=1)[:, :K].astype("u4").tofile(truth)
    return "grocery", [path, len(gallery), len(queries), DIM, THREADS, truth]


def goal_of(label, goal):
    return "" if label == "grocery" else f" (goal {goal})"


class Table:
    """Rates of sides, turn by turn."""

    def __init__(self, sides):
        self.sides, self.rates = sides, {name: [] for name in sides}

    def turn(self, number, ask):
        for name in sorted(self.sides, reverse=number % 2 == 1):
            self.rates[name].append(ask(name, self.sides[name]))

    def median(self, name):
        return statistics.median(self.rates[name])

    def ratio(self, ours, peers):
        """Of each round's own, to the fastest of the peers by their medians."""
        fastest = max(peers, key=self.median)
        return statistics.median(a / b for a, b in zip(self.rates[ours], self.rates[fastest])), fastest


def exact(label, words, python):
    n, n_queries = words[1:3]
    sides = {"ours": Side([OURS, "run", *words])}
    if python:
        sides |= {name: Side([python, HERE / "peer.py", name, *words]) for name in ("faiss", "usearch")}
    for side in sides.values():
        side.ask("load")
    ratios = []
    for how, size, goal in (("one", 1, 0.95), ("batch", 64, 3)):
        table = Table(sides)
        batches = min(max(1, (20 if size == 1 else 1) * 100000 // n), n_queries // size)

        def ask(name, side):
            got = side.ask("exact", size, batches)
            if got["recall"] < 0.999:
                sys.exit(f"bench-vector: {name} is not exact: {got['recall']}")
            return got["rate"]

        for name, side in sides.items():
            ask(name, side)
        for turn in range(ROUNDS):
            table.turn(turn, ask)
        for name in sides:
            print(f"exact {label:>9} {how:>8} {name:>12} | {1e3 / table.median(name):10.3f} ms a query",
                  flush=True)
        if python:
            value, fastest = table.ratio("ours", [name for name in sides if name != "ours"])
            ratios.append(f"ratio exact-{label}-{how} {value:.2f}{goal_of(label, goal)} to {fastest}")
    for side in sides.values():
        side.end()
    return ratios


def width_for(side, recall):
    """The least width that reaches it."""
    low, high = K, 4096
    while low < high:
        middle = (low + high) // 2 if high <= 4 * low else 2 * low
        if side.ask("approximate", middle, 1)["recall"] >= recall:
            high = middle
        else:
            low = middle + 1
    return low


def approximate(label, words, python):
    kinds = ["hnsw-f32", "hnsw-i8"]
    if FULL:
        kinds += ["hnsw-f16", "ivf-f32", "ivf-i8"]
    ours = {name: Side([OURS, "run", *words]) for name in kinds if not ONLY or name in ONLY}
    peers = {}
    if python:
        names = ["faiss", "hnswlib", "usearch"] + (["usearch-i8"] if FULL else [])
        peers = {name: Side([python, HERE / "peer.py", name, *words]) for name in names
                 if not ONLY or name in ONLY}
    sides = ours | peers
    for name, side in sides.items():
        if name in ours:
            side.ask("load")
        got = side.ask("build", *(name.split("-") if name in ours else ()))
        tuned = f", tuned to {got['tuned']:.3f}" if "tuned" in got else ""
        print(f"build {label:>9} {name:>12} | {got['seconds']:8.1f} s {got['mib']:8.0f} MiB{tuned}",
              flush=True)
    ratios = []
    for recall in RECALLS:
        found = {name: width_for(side, recall) for name, side in sides.items()}
        reached = {}

        def ask(name, side):
            got = side.ask("approximate", found[name], max(1, 4000 // words[2]))
            reached[name] = got["recall"]
            return got["rate"]

        able = {}
        for name, side in sides.items():
            ask(name, side)
            if reached[name] >= recall - 0.002:
                able[name] = side
            else:
                print(f"recall {recall} {name:>12} | not reached: {reached[name]:.4f}")
        table = Table(able)
        for turn in range(ROUNDS):
            table.turn(turn, ask)
        for name in able:
            print(f"recall {recall} {label:>9} {name:>12} | width {found[name]:5} recall "
                  f"{reached[name]:.4f} {table.median(name):10.1f} queries/s", flush=True)
        others = [name for name in able if name in ("hnswlib", "usearch", "usearch-i8")]
        for kind in (kind for kind in kinds if kind in able):
            for some, goal in ((["faiss"], 1), (others, 0.9)):
                if some and all(name in able for name in some):
                    value, fastest = table.ratio(kind, some)
                    ratios.append(f"ratio {kind}-{label}-at-{recall} {value:.2f}{goal_of(label, goal)} "
                                  f"to {fastest}")
    for side in sides.values():
        side.end()
    return ratios


def main():
    what = sys.argv[2:3] or ["exact", "approximate"]
    python = peer_python()
    print(f"{DIM} values, {THREADS} threads, k = {K}, medians of {ROUNDS} rounds")
    lines = []
    for search, names in ((exact, ["100000", *(["1000000"] if FULL else []), "grocery"]),
                          (approximate, ["100000", "grocery"])):
        for name in sys.argv[3:4] or names if search.__name__ in what else ():
            vectors = photographs() if name == "grocery" else drawn(int(name))
            lines += search(*vectors, python) if vectors else []
    if not python:
        print("the peers could not be installed: bench/vector/peers.txt")
    print("\n".join(lines))


main()
