"""bench-eval: all of lib/eval's metrics beside three of pytorch-metric-learning's AccuracyCalculator, for
classes and super-classes of the same vectors; and lib/eval at the size of SOP's test set.

    make bench-eval [FULL=1]

The peer comes from PyPI into build/bench/eval, or is the python3 that PEER_PYTHON names.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

BIN = pathlib.Path(sys.argv[1])
HERE = pathlib.Path(__file__).resolve().parent
FULL = os.environ.get("FULL") == "1"
THREADS = len(os.sched_getaffinity(0))
N, DIM, CLASSES = 20000, 512, 2000
SOP, SOP_CLASSES = 60502, 11316
ROUNDS = 5 if FULL else 3
GOAL = 3
PACKAGES = ["torch==2.13.0", "pytorch-metric-learning", "faiss-cpu"]


def peer_python():
    named = os.environ.get("PEER_PYTHON")
    if named:
        return named
    folder = BIN.parent.parent / "bench/eval"
    python = folder / "bin/python3"
    if not python.exists():
        made = subprocess.run(["python3", "-m", "venv", folder], check=False)
        if made.returncode != 0:
            return None
    needs = [python, "-c", "import torch, faiss, pytorch_metric_learning"]
    if subprocess.run(needs, capture_output=True, check=False).returncode != 0:
        got = subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=False)
        if got.returncode != 0:
            return None
    return python


def answer(command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True,
                          text=True)
    return json.loads(done.stdout.splitlines()[-1])


def show(name, run):
    print(f"{name:>24} | {run['seconds']:8.1f} s {run['peak_mib']:8.0f} MiB  "
          f"P@1 {run['precision_at_1']:.4f}  R-precision {run['r_precision']:.4f}  "
          f"MAP@R {run['mean_average_precision_at_r']:.4f}", flush=True)


def main():
    python = peer_python()
    ratios = []
    print(f"{DIM} values, {THREADS} threads")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vectors"
        for turn in range(ROUNDS if python else 1):
            ours = answer([BIN / "bench_eval_ours", N, DIM, CLASSES, THREADS, path])
            show(f"ours, {N} × {N}", ours)
            if not python:
                continue
            peer = answer([python, HERE / "peer.py", path, N, DIM, THREADS])
            show(f"peer, {N} × {N}", peer)
            for key in ("precision_at_1", "r_precision", "mean_average_precision_at_r"):
                if abs(ours[key] - peer[key]) > 2e-4:
                    sys.exit(f"bench-eval: {key} differs: {ours[key]} and {peer[key]}")
            ratios.append(peer["seconds"] / ours["seconds"])
    show(f"ours, {SOP} × {SOP}", answer([BIN / "bench_eval_ours", SOP, DIM, SOP_CLASSES, THREADS]))
    if ratios:
        print(f"ratio eval-20000 {statistics.median(ratios):.2f} (goal {GOAL})")
    else:
        print(f"the peer could not be installed: {', '.join(PACKAGES)}")


main()
