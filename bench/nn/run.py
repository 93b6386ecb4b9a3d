"""bench-nn: lib/nn beside PyTorch, from pixels in the host's memory to the answer in it, on the CPU
or on the GPU that LibTorch finds. Rounds alternate; each ratio is the median of those within a round.

    make bench-nn [FULL=1]
    python3 bench/nn/run.py BUILD/bin [bfloat16] [tf32]        (the peer runs in this python3)

bfloat16 adds the cases in it; tf32 a second peer beside the float32 cases (peer.py).
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
    def words(kind):
        return [mode, SIZE, batch, kind, THREADS]

    def peer(kind):
        return Side([sys.executable, HERE / "peer.py", *words(kind)])

    sides = {"ours": Side([BIN / "bench_nn_ours", *words(precision)]), "peer": peer(precision)}
    if precision == "float32" and "tf32" in sys.argv[2:]:
        sides["tf32"] = peer("tf32")
    rate = {name: side.ask(3, 3)["images_per_second"] for name, side in sides.items()}
    steps = {name: max(2, round(SECONDS * rate[name] / batch)) for name in sides}
    rates = {name: [] for name in sides}
    for turn in range(ROUNDS):
        for name in sorted(sides, reverse=turn % 2 == 1):
            rates[name].append(sides[name].ask(1, steps[name])["images_per_second"])
    label = f"{mode}-{batch}" + ("-bfloat16" if precision == "bfloat16" else "")
    print(f"{label:>20} | " + " ".join(f"{statistics.median(rates[name]):10.1f}" for name in sides),
          flush=True)
    about = [side.about["ready"] for side in list(sides.values())[:2]]
    for side in sides.values():
        side.end()
    ratios = {name: statistics.median(a / b for a, b in zip(rates["ours"], rates[name]))
              for name in sides if name != "ours"}
    return label, ratios, about


def main():
    print(f"ResNet18 at {SIZE} × {SIZE}, {THREADS} threads; medians of {ROUNDS} rounds; images/s")
    print(f"{'':>20} | {'ours':>10} {'peer':>10}" + (f" {'its tf32':>10}" if "tf32" in sys.argv else ""))
    lines, about = [], []

    def run(mode, batches, precision):
        nonlocal about
        for batch in batches:
            label, ratios, about = measure(mode, batch, precision)
            lines.append(f"ratio {label} {ratios['peer']:.3f} (goal 0.95)" +
                         (f", {ratios['tf32']:.3f} to tf32" if "tf32" in ratios else ""))

    run("forward", FORWARD, "float32")
    run("train", TRAIN, "float32")
    if "bfloat16" in sys.argv[2:]:
        if "CUDA" in about[0]:  # ours has such a forward there alone
            run("forward", FORWARD, "bfloat16")
        run("train", TRAIN, "bfloat16")
    print(" beside ".join(about))
    print("\n".join(lines))


main()
