"""bench-nn: lib/nn beside PyTorch, from pixels in the host's memory to the answer in it, on the CPU
or on the GPU that LibTorch finds. Rounds alternate; each ratio is the median of those within a round.

    make bench-nn [FULL=1]
    python3 bench/nn/run.py BUILD/bin        (the peer runs in this python3)
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

BIN = pathlib.Path(sys.argv[1])
HERE = pathlib.Path(__file__).resolve().parent
FULL = os.environ.get("FULL") == "1"
SIZE = 224
ROUNDS = 9 if FULL else 5
THREADS = len(os.sched_getaffinity(0))
FORWARD, TRAIN = (1, 8, 32), (32, 64)
SECONDS = 2  # of one round, about


class Side:
    def __init__(self, command, env):
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=env)
        self.about = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"bench-nn: {self.process.args} ended")
        return json.loads(line)

    def round(self, warm, steps):
        self.process.stdin.write(f"{warm} {steps}\n")
        self.process.stdin.flush()
        return self.answer()["images_per_second"]

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def measure(mode, batch, precision):
    words = [mode, SIZE, batch, precision, THREADS]
    env = dict(os.environ, OMP_WAIT_POLICY="passive")
    sides = {"ours": Side([BIN / "bench_nn_ours", *words], env),
             "peer": Side([sys.executable, HERE / "peer.py", *words], env)}
    steps = {name: max(2, round(SECONDS * side.round(3, 3) / batch)) for name, side in sides.items()}
    rates = {name: [] for name in sides}
    for turn in range(ROUNDS):
        for name in sorted(sides, reverse=turn % 2 == 1):
            rates[name].append(sides[name].round(1, steps[name]))
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
