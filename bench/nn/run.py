"""bench-nn: lib/nn beside PyTorch, from pixels in the host's memory to the answer in it, on the CPU
or on the GPU that LibTorch finds. Rounds alternate; each ratio is the median of those within a round.

    make bench-nn [FULL=1]
    python3 bench/nn/run.py BUILD/bin        (the peer runs in this python3)
"""

import os
import pathlib
import statistics
import sys

BIN = pathlib.Path(sys.argv[1])
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from side import Side  # noqa: E402 (beside the folders of the benchmarks)

FULL = os.environ.get("FULL") == "1"
SIZE = 224
ROUNDS = 9 if FULL else 5
THREADS = len(os.sched_getaffinity(0))
FORWARD, TRAIN = (1, 8, 32), (32, 64)
SECONDS = 2  # of one round, about


def measure(mode, batch, precision):
    words = [mode, SIZE, batch, precision, THREADS]
    sides = {"ours": Side([BIN / "bench_nn_ours", *words]),
             "peer": Side([sys.executable, HERE / "peer.py", *words])}
    rate = {name: side.ask(3, 3)["images_per_second"] for name, side in sides.items()}
    steps = {name: max(2, round(SECONDS * rate[name] / batch)) for name in sides}
    rates = {name: [] for name in sides}
    for turn in range(ROUNDS):
        for name in sorted(sides, reverse=turn % 2 == 1):
            rates[name].append(sides[name].ask(1, steps[name])["images_per_second"])
    ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["peer"]))
    label = f"{mode}-{batch}" + ("-bfloat16" if precision == "bfloat16" else "")
    print(f"{label:>20} | {statistics.median(rates['ours']):10.1f} "
          f"{statistics.median(rates['peer']):10.1f}", flush=True)
    about = [side.about["ready"] for side in sides.values()]
    for side in sides.values():
        side.end()
    return label, ratio, about


def main():
    print(f"ResNet18 at {SIZE} × {SIZE}, {THREADS} threads; medians of {ROUNDS} rounds; images/s")
    print(f"{'':>20} | {'ours':>10} {'peer':>10}")
    lines, about = [], []
    cases = [("forward", batch, "float32") for batch in FORWARD]
    cases += [("train", batch, "float32") for batch in TRAIN]
    if "bfloat16" in sys.argv[2:]:
        cases += [("train", batch, "bfloat16") for batch in TRAIN]
    for case in cases:
        label, ratio, about = measure(*case)
        lines.append(f"ratio {label} {ratio:.3f} (goal 0.95)")
    print(" beside ".join(about))
    print("\n".join(lines))


main()
