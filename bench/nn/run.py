"""bench-nn: lib/nn beside its peers, from pixels in the host's memory to the answer in it, on the CPU or
on the GPU that LibTorch finds. All sides of a case compute one network on one batch, their embeddings
are compared, and their rounds take turns; a ratio is the median of those within a round.

    make bench-nn [FULL=1]
    python3 bench/nn/run.py BUILD/bin [OTHER/bin] [CASE...] [tf32]

OTHER is a build against another LibTorch, a column of its own. CASE (forward, forward-8, forward-bfloat16,
train-32-bfloat16 and so on) leaves out the others; without one, trainings on a CPU are left to FULL=1. On the
CPU a forward's peers come from bench/venv.sh; on a GPU and for a training the peer is PyTorch as this python3
has it. tf32 adds a second one beside float32 (peer.py).
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from side import Side  # noqa: E402 (beside the folders of the benchmarks)

BINS = [pathlib.Path(word) for word in sys.argv[1:] if pathlib.Path(word, "bench_nn_ours").exists()]
WORDS = sys.argv[1 + len(BINS):]
FULL = os.environ.get("FULL") == "1"
SIZE = 224
ROUNDS = 9 if FULL else 5
SECONDS = 2 if FULL else 1  # of one round, about
THREADS = len(os.sched_getaffinity(0))
FORWARD, TRAIN = (1, 8, 32), (32, 64)
PEERS = {"float32": ("eager", "frozen", "compiled", "onnxruntime", "openvino"),
         "bfloat16": ("eager", "frozen", "compiled", "openvino")}  # ONNX Runtime has none on the CPU
BOUND = {"float32": 1e-3, "bfloat16": 4e-2}  # of two embeddings' difference
# What lib/nn asks of the allocator for its process, for every side: large blocks stay, in huge pages.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
             "MALLOC_TOP_PAD_": str(64 << 20), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def is_there(python, module):
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def sides_of(mode, batch, precision, python, kinds, folder):
    """The sides that start, by name, and what each says of itself."""
    files = [folder / "net.safetensors", folder / "pixels"]

    def ours(folder, as_precision):
        return [folder / "bench_nn_ours", mode, *files, SIZE, batch, as_precision, THREADS]

    commands = {"ours": ours(BINS[0], precision)}
    if len(BINS) > 1:
        commands["ours-2"] = ours(BINS[1], precision)
    if mode == "forward" and precision == "bfloat16":
        commands["float32"] = ours(BINS[0], "float32")
    for kind in kinds:
        name, as_precision = ("eager", "tf32") if kind == "tf32" else (kind, precision)
        commands[kind] = [python, HERE / "peer.py", mode, name, *files, SIZE, batch, as_precision,
                          THREADS]
    sides = {}
    for name, command in commands.items():
        try:
            sides[name] = Side(command)
        except SystemExit:
            print(f"{name} did not start: {mode}-{batch} {precision} goes on without it", flush=True)
    return sides


def check_embeddings(sides, precision):
    wanted = np.array(sides["ours"].about["embedding"])
    for name, side in sides.items():
        got = np.array(side.about["embedding"])
        if name != "tf32" and got.size and not np.linalg.norm(got - wanted) < BOUND[precision]:
            sys.exit(f"{name} computes something else: off by {np.linalg.norm(got - wanted):.3g}")


def measure(mode, batch, precision, python, kinds, folder):
    sides = sides_of(mode, batch, precision, python, kinds, folder)
    check_embeddings(sides, precision)
    rate = {name: side.ask(2, 2)["images_per_second"] for name, side in sides.items()}
    steps = {name: max(2, round(SECONDS * rate[name] / batch)) for name in sides}
    rates = {name: [] for name in sides}
    for turn in range(ROUNDS):
        for name in sorted(sides, reverse=turn % 2 == 1):
            rates[name].append(sides[name].ask(1, steps[name])["images_per_second"])
    label = f"{mode}-{batch}" + ("-bfloat16" if precision == "bfloat16" else "")
    for name in sides:
        print(f"{label:>20} | {name:>12} {statistics.median(rates[name]):9.1f}   "
              f"{sides[name].about['ready']}", flush=True)
    for side in sides.values():
        side.end()
    return label, rates


def ratio(rates, ours, theirs):
    return statistics.median(a / b for a, b in zip(rates[ours], rates[theirs]))


def lines_of(label, rates):
    """Each goal's line."""
    peers = [name for name in rates if name in PEERS["float32"]]
    if peers:
        best = max(peers, key=lambda name: statistics.median(rates[name]))
        yield f"ratio {label} {ratio(rates, 'ours', best):.3f} (goal 0.95)  beside {best}"
        if "ours-2" in rates:
            yield f"ratio {label}-other-libtorch {ratio(rates, 'ours-2', best):.3f} (goal 0.95)"
    if "tf32" in rates:
        yield f"ratio {label}-to-tf32 {ratio(rates, 'ours', 'tf32'):.3f}"
    if "float32" in rates:
        yield f"ratio {label}-to-float32 {ratio(rates, 'ours', 'float32'):.3f} (goal 1.5)"
    if "matmul" in rates:
        yield f"share of a matrix product's speed, {label}: {ratio(rates, 'ours', 'matmul'):.2f}"


def main():
    os.environ.update(ALLOCATOR)
    about = subprocess.run([BINS[0] / "bench_nn_ours", "about"], text=True, capture_output=True,
                           check=True).stdout
    gpu, bfloat16 = "CUDA" in about, "bfloat16" in about
    python = sys.executable
    if not gpu:
        made = subprocess.run([HERE.parent / "venv.sh"], stdout=subprocess.PIPE, text=True)
        python = made.stdout.strip() if made.returncode == 0 else python
    kinds = {name: [kind for kind in PEERS[name] if kind not in ("onnxruntime", "openvino") or
                    is_there(python, kind)] + ["matmul"] for name in PEERS}
    if gpu:
        kinds = {"float32": ["eager"] + ["tf32"] * ("tf32" in WORDS), "bfloat16": ["eager"]}
    elif not is_there(python, "torch"):
        kinds = {name: [] for name in PEERS}
    for name in sorted(set(PEERS["float32"]) - set(kinds["float32"])) if not gpu else []:
        print(f"missing: {name}")
    trained_by = ["eager"] if is_there(sys.executable, "torch") else []
    named = [word for word in WORDS if word != "tf32"]
    cases = [("forward", "float32"), ("forward", "bfloat16")]
    if FULL or gpu or named:
        cases += [("train", "float32"), ("train", "bfloat16")]
    print(f"ResNet18 at {SIZE} × {SIZE}, {THREADS} threads; medians of {ROUNDS} rounds; images/s")
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        subprocess.run([BINS[0] / "bench_nn_ours", "weights", folder / "net.safetensors"], check=True)
        images = np.random.default_rng(1).normal(size=(max(TRAIN), SIZE, SIZE, 3))
        images.astype("f4").tofile(folder / "pixels")
        for mode, precision in cases:
            forward, suffix = mode == "forward", "-bfloat16" if precision == "bfloat16" else ""
            if precision == "bfloat16" and not bfloat16:
                continue
            for batch in FORWARD if forward else TRAIN:
                if named and not {mode + suffix, f"{mode}-{batch}{suffix}"} & set(named):
                    continue
                lines += lines_of(*measure(
                    mode, batch, precision, python if forward else sys.executable,
                    kinds[precision] if forward else trained_by, folder))
    print("\n".join(lines))


main()
