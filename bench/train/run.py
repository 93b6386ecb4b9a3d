"""bench-train: the trainer's loop beside a PyTorch loop with a DataLoader, on one LibTorch, with the
same network, loss, batch, threads and allocator settings. Rounds alternate; each ratio is the median
of those within a round.

    make bench-train [FULL=1] [DATA=DIR] [NORM=batch]

DIR is in the layout of Stanford Online Products (Ebay_train.txt); else the photographs in
../shared/datasets/grocery, else drawn products. NORM: batch normalisation keeps its statistics (frozen,
unless given) or follows the batches.
"""

import os
import pathlib
import statistics
import subprocess
import sys

BIN = pathlib.Path(sys.argv[1])
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from side import Side  # noqa: E402 (beside the folders of the benchmarks)

GROCERY = HERE.parents[2] / "shared/datasets/grocery"
FULL = os.environ.get("FULL") == "1"
NORM = os.environ.get("NORM", "frozen")
P, K = 8, 4
THREADS = len(os.sched_getaffinity(0))
ROUNDS = 9 if FULL else 5
WARM, WARM_FIXED = 5, 2  # more than the peer's loader has made ahead
# Label, image side, augmentation, steps of a round, goal. At 224 a step takes seconds.
SIZES = [("train-112-augmented", 112, "full", 20, 1.2), ("train-224", 224, "basic", 12, 0.95)]
HIDDEN_GOAL = 0.95
TRY_STEPS = 6  # to choose the peer's workers by
PEER_NEEDS = ["/usr/bin/python3", "-c", "import torch, torchvision, PIL"]


def dataset():
    given = os.environ.get("DATA")
    if given:
        return pathlib.Path(given), "DATA"
    if (GROCERY / "Ebay_train.txt").exists():
        return GROCERY, "photographs"
    drawn = BIN.parent / "bench/train/drawn"
    if not (drawn / "Ebay_train.txt").exists():
        subprocess.run([BIN / "kindred-draw", "--size", "400", drawn], check=True,
                       stdout=subprocess.DEVNULL)
    return drawn, "drawn by kindred-draw"


def start_ours(folder, size, augment):
    return Side([BIN / "bench_train_ours", folder, size, augment, NORM, P, K, THREADS])


def start_peer(folder, size, augment):
    """With as many workers as it is fastest with."""
    best, best_rate = None, 0
    for workers in (1, 2):
        side = Side(["/usr/bin/python3", HERE / "peer.py", folder, size, augment, NORM, P, K, THREADS,
                     workers])
        rate = side.ask("data", WARM, TRY_STEPS)["images_per_second"]
        slower = side if rate <= best_rate else best
        if slower:
            slower.end()
        if rate > best_rate:
            best, best_rate, side.workers = side, rate, workers
    return best


def rounds(sides, steps):
    """For each side, its rounds in both modes; the peer's on a fixed batch is for the table alone."""
    runs = {(name, mode): [] for name in sides for mode in ("data", "fixed")}
    for turn in range(ROUNDS):
        for name in sorted(sides, reverse=turn % 2 == 1):
            runs[name, "data"].append(sides[name].ask("data", WARM, steps))
            if name == "ours" or turn == 0:
                runs[name, "fixed"].append(sides[name].ask("fixed", WARM_FIXED, steps // 2))
    return runs


def middle(runs, key):
    return statistics.median(run[key] for run in runs)


def ratio(left, right):
    return statistics.median(
        a["images_per_second"] / b["images_per_second"] for a, b in zip(left, right))


def print_runs(label, name, runs):
    for mode in ("data", "fixed"):
        some = runs[name, mode]
        parts = "".join(
            f", {part} {1e3 * statistics.median(run['parts'][part] for run in some):.0f}"
            for part in some[0].get("parts", {}) if part != "wait")
        print(f"{label:>20} {name:>5} {mode:>5} | {middle(some, 'images_per_second'):8.1f} "
              f"{1e3 * (middle(some, 'wait') + middle(some, 'step')):8.1f} "
              f"{1e3 * middle(some, 'wait'):8.1f} {1e3 * middle(some, 'step'):8.1f}{parts}",
              flush=True)


def main():
    folder, kind = dataset()
    found = subprocess.run(PEER_NEEDS, capture_output=True, check=False).returncode == 0
    lines = []
    print(f"ResNet18, norm {NORM}, batches of {P} × {K}, {THREADS} threads; medians of {ROUNDS} rounds")
    print(f"{folder} ({kind})")
    print(f"{'':32} | {'images/s':>8} {'ms/step':>8} {'waiting':>8} {'in step':>8}, its parts")
    for label, size, augment, steps, goal in SIZES:
        sides = {"ours": start_ours(folder, size, augment)}
        if found:
            sides["peer"] = start_peer(folder, size, augment)
        runs = rounds(sides, steps)
        for name, side in sides.items():
            print_runs(label, name, runs)
            workers = f", workers: {side.workers}" if name == "peer" else ""
            print(f"{'':20} {name:>5}: {side.about['ready']}{workers}, "
                  f"{side.about['images']} images")
            side.end()
        if found:
            lines.append(f"ratio {label} {ratio(runs['ours', 'data'], runs['peer', 'data']):.3f} "
                         f"(goal {goal})")
        if size == 224:
            hidden = ratio(runs["ours", "data"], runs["ours", "fixed"])
            lines.append(f"ratio {label}-data-hidden {hidden:.3f} (goal {HIDDEN_GOAL})")
    if not found:
        print("the peer is not there: it needs python3-torch, python3-torchvision and python3-pil "
              "(tools/deps.sh --bench)")
    print("\n".join(lines))


main()
